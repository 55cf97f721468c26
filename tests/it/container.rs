//! The image of `Containerfile`, run as a container is: on its own files alone, which it cannot change, as its own user, in a
//! network of its own, with a volume for its data. tests/services/image builds it, and says where it is unpacked.
//!
//! What a container runtime does is done by `unshare`, `mount` and `chroot`, which needs root.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Process, Ran, until};

/// The goal for all files of the image together.
const MOST_BYTES: u64 = 30 * 1024 * 1024;
const USER: &str = "65532:65532";
const ADDRESS: &str = "http://127.0.0.1:8000";

/// What a runtime sets where the image says nothing.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The files of the image are `$1`, the volume `$2`, the file of host names `$3`, and the rest is an
/// environment and a command. The process becomes the container's, so that signals go to it.
const RUN: &str = r#"
    root=$1 volume=$2 hosts=$3
    shift 3
    mount --bind "$root" "$root"
    mount --bind "$volume" "$root/data"
    mount --bind "$hosts" "$root/etc/hosts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/dev"
    for device in null zero random urandom; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mount -o remount,bind,ro "$root"
    ip link set lo up
    exec env -i "$@"
"#;

struct Image {
    rootfs: PathBuf,
    /// What a runtime reads of it.
    config: Value,
}

impl Image {
    fn built() -> Self {
        let folder = std::env::var("NATTER_TEST_IMAGE").expect("tests/run builds the image and says where it is");
        let folder = PathBuf::from(folder);
        let text = fs::read_to_string(folder.join("image.json")).expect("what buildah says of the image");
        let image: Value = serde_json::from_str(&text).expect("JSON");
        Self { rootfs: folder.join("rootfs"), config: image["Docker"]["config"].clone() }
    }

    fn list(&self, key: &str) -> Vec<String> {
        let values = self.config[key].as_array().into_iter().flatten();
        values.map(|value| value.as_str().expect("text").to_owned()).collect()
    }

    /// The environment, and the command line that becomes `natter …` in it.
    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let root = self.rootfs.display().to_string();
        let environment = [PATH.to_owned()].into_iter().chain(self.list("Env"));
        let enter = ["chroot".to_owned(), format!("--userspec={USER}"), root];
        let arguments = arguments.iter().map(|argument| argument.to_string());
        environment.chain(enter).chain(arguments).collect()
    }
}

/// A volume as a runtime makes one: with what the image has there, and its owner.
fn volume(image: &Image, within: &TempDir) -> PathBuf {
    let volume = within.path().join("volume");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(image.rootfs.join("data")).arg(&volume);
    assert!(copy.status().expect("cp is there").success());
    volume
}

/// One run of the image.
struct Container<'a> {
    image: &'a Image,
    process: Process,
}

impl<'a> Container<'a> {
    async fn start(image: &'a Image, volume: &Path) -> Self {
        let hosts = volume.with_file_name("hosts");
        fs::write(&hosts, "127.0.0.1 natter1\n").expect("the test's own folder");
        let entrypoint = image.list("Entrypoint");
        let entrypoint: Vec<&str> = entrypoint.iter().map(String::as_str).collect();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "sh", "-euc", RUN, "sh"]);
        command.args([&image.rootfs, volume, &hosts]).args(image.command(&entrypoint));
        let began = Instant::now();
        let container = Self { image, process: Process::spawn(command) };
        container.process.line("listening on http://0.0.0.0:8000").await;
        until("it to answer", async || container.curl(&["/healthz"]).await.code == Some(0)).await;
        println!("the container answered {} ms after its start began", began.elapsed().as_millis());
        container
    }

    /// A command in the container's network.
    fn inside(&self, program: &str, more: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process.pid().to_string(), "--net"]).args(more).arg(program);
        command
    }

    async fn curl(&self, arguments: &[&str]) -> Ran {
        let (path, arguments) = arguments.split_first().expect("a path");
        let mut command = self.inside("curl", &[]);
        command.args(["--silent", "--show-error", "--fail-with-body"]).arg(format!("{ADDRESS}{path}")).args(arguments);
        Ran::of(command, "").await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let told = self.curl(arguments).await.ok();
        serde_json::from_str(&told).unwrap_or_else(|_| panic!("{arguments:?}: {told}"))
    }

    /// As `docker exec`.
    async fn exec(&self, arguments: &[&str]) -> Ran {
        let mut command = self.inside("env", &["--mount"]);
        command.arg("-i").args(self.image.command(arguments));
        Ran::of(command, "").await
    }

    async fn stop(self) {
        self.process.signal("TERM");
        let status = self.process.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
    }
}

/// Somebody's token, with what curl needs to send it.
async fn bearer(container: &Container<'_>) -> String {
    let login = container.json(&["/token", "--data", "username=ann&password=correct-horse"]).await;
    format!("authorization: Bearer {}", login["access_token"].as_str().expect("a token"))
}

const JSON: &str = "content-type: application/json";

#[test]
fn the_image_says_how_it_is_run() {
    let image = Image::built();
    assert_eq!(image.config["User"], USER);
    assert_eq!(image.list("Entrypoint"), ["natter"]);
    assert_eq!(
        image.list("Env").iter().filter(|one| !one.starts_with("PATH=")).collect::<Vec<_>>(),
        ["NATTER_SERVER__BIND=0.0.0.0:8000"]
    );
    assert!(image.config["ExposedPorts"]["8000/tcp"].is_object());
    assert!(image.config["Volumes"]["/data"].is_object());
    assert_eq!(image.config["StopSignal"], "SIGTERM");
    assert_eq!(image.config["Healthcheck"]["Test"], serde_json::json!(["CMD", "natter", "health"]));
    let label = |name: &str| image.config["Labels"][format!("org.opencontainers.image.{name}")].as_str();
    assert_eq!(label("title"), Some("natter"));
    assert_eq!(label("version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(label("licenses"), Some(env!("CARGO_PKG_LICENSE")));
    assert_eq!(label("description"), Some(env!("CARGO_PKG_DESCRIPTION")));
}

#[test]
fn the_image_is_one_small_program_and_little_else() {
    let image = Image::built();
    let (mut folders, mut files, mut bytes) = (vec![image.rootfs.clone()], Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the image") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("an entry");
            if meta.is_dir() {
                folders.push(path);
                continue;
            }
            bytes += meta.len();
            files.push(path.strip_prefix(&image.rootfs).expect("it is inside").display().to_string());
        }
    }
    files.sort();
    // The mount points of host names and name servers are made by whoever runs it.
    files.retain(|file| !["etc/hosts", "etc/resolv.conf"].contains(&file.as_str()));
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    assert_eq!(files, [certificates, "licenses/LICENSE-APACHE", "licenses/LICENSE-MIT", "usr/local/bin/natter"]);
    assert!(bytes < MOST_BYTES, "the image has {bytes} bytes");
    println!("the image has {bytes} bytes");

    let meta = |path: &str| fs::metadata(image.rootfs.join(path)).expect("a path of the image");
    let (data, program) = (meta("data"), meta("usr/local/bin/natter"));
    assert_eq!(format!("{}:{}", data.uid(), data.gid()), USER);
    assert_eq!((data.mode() & 0o777, meta("tmp").mode() & 0o1777), (0o700, 0o1777));
    assert_eq!((program.uid(), program.mode() & 0o777), (0, 0o755), "its user cannot change the program");
}

#[tokio::test]
async fn the_image_serves_keeps_its_data_in_the_volume_and_drains() {
    let image = Image::built();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let volume = volume(&image, &folder);

    let container = Container::start(&image, &volume).await;
    let page = container.curl(&["/", "--include"]).await.ok();
    assert!(page.contains("content-security-policy: default-src 'none'") && page.contains("<!doctype html>"), "{page}");
    for body in [r#"{"username":"ann","password":"correct-horse"}"#, r#"{"username":"bob","password":"correct-horse"}"#]
    {
        container.json(&["/users/register", "--header", JSON, "--data", body]).await;
    }
    let ann = bearer(&container).await;
    let room =
        container.json(&["/chat/new", "--header", JSON, "--header", &ann, "--data", r#"{"username":"bob"}"#]).await;
    let room = format!("/chat/{}", room["chat_id"].as_str().expect("an id"));
    let said =
        container.json(&[&room, "--header", JSON, "--header", &ann, "--data", r#"{"message":"It floats"}"#]).await;
    assert_eq!(said["duplicate"], false, "{said}");
    container.exec(&["natter", "health"]).await.ok();
    container.exec(&["natter", "health", "--url", "http://natter1:8000"]).await.ok();
    container.exec(&["natter", "admin", "grant", "ann"]).await.ok();
    let id = fs::metadata(format!("/proc/{}", container.process.pid())).expect("it runs").uid();
    assert_eq!(USER, format!("{id}:{id}"));
    container.stop().await;

    let container = Container::start(&image, &volume).await;
    let ann = bearer(&container).await;
    let history = container.json(&[&room, "--header", &ann]).await;
    assert_eq!(history["messages"][0]["content"], "It floats", "{history}");
    container.json(&["/users/", "--header", &ann]).await;
    container.stop().await;
}

#[test]
fn the_deployed_natters_are_this_image() {
    let image = Image::built();
    let deploy = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
        fs::read_to_string(path).expect("a file of deploy")
    };
    let (compose, kubernetes) = (deploy("compose.yaml"), deploy("kubernetes.yaml"));
    let (user, group) = USER.split_once(':').expect("user:group");
    assert!(
        kubernetes.contains(&format!("runAsUser: {user}\n")) && kubernetes.contains(&format!("runAsGroup: {group}\n"))
    );
    assert!(compose.contains("dockerfile: Containerfile"), "compose looks for a Dockerfile else");
    let check: Vec<&str> =
        image.config["Healthcheck"]["Test"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(compose.contains(&format!("test: [{}]\n", check.join(", "))), "{check:?}");
}
