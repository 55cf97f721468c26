//! Takes the two files of Swagger UI that `/docs` is made of out of the archive in `utoipa-swagger-ui-vendored`, and leaves
//! them compressed where `src/api/docs/page.rs` embeds them: the archive has 4 MB, the two have 0.4. Nothing is downloaded.

use std::{
    env,
    error::Error,
    fs::File,
    io::{self, Cursor},
    path::PathBuf,
};

use flate2::{Compression, write::GzEncoder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for name in FILES {
        // The archive's one folder is named after the version.
        let entry = archive
            .file_names()
            .find(|path| path.split_once('/').is_some_and(|(_, file)| file == format!("dist/{name}")));
        let entry = entry.ok_or_else(|| format!("the archive of Swagger UI has no {name}"))?.to_owned();
        let mut to = GzEncoder::new(File::create(out.join(format!("{name}.gz")))?, Compression::best());
        io::copy(&mut archive.by_name(&entry)?, &mut to)?;
        to.finish()?;
    }
    Ok(())
}
