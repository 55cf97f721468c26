//! What admins do to users, and that it holds from the next request on.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, Server};

fn role(username: &str, role_name: &str) -> Value {
    json!({"username": username, "role_name": role_name})
}

fn role_names(user: &Value) -> Vec<&str> {
    user["roles"].as_array().unwrap().iter().map(|role| role["role_name"].as_str().unwrap()).collect()
}

async fn ann_and_root(server: &Server) -> (Person, Person) {
    (server.person("ann").await, server.admin().await)
}

#[tokio::test]
async fn a_role_added_or_removed_holds_from_the_next_request_on() {
    let server = Server::start().await;
    let (ann, root) = ann_and_root(&server).await;
    ann.get("/users/").await.refused(403);
    root.post_json("/users/add-role", &role("ann", "admin")).await.ok();
    ann.get("/users/").await.ok();
    assert_eq!(role_names(&ann.me().await), ["admin", "basic_user"]);
    root.post_json("/users/remove-role", &role("ann", "admin")).await.ok();
    ann.get("/users/").await.refused(403);
}

#[tokio::test]
async fn adding_and_removing_a_role_twice_is_as_good_as_once() {
    let server = Server::start().await;
    let (ann, root) = ann_and_root(&server).await;
    for _ in 0..2 {
        root.post_json("/users/add-role", &role("ann", "admin")).await.ok();
    }
    assert_eq!(role_names(&ann.me().await), ["admin", "basic_user"]);
    for _ in 0..2 {
        root.post_json("/users/remove-role", &role("ann", "admin")).await.ok();
    }
    assert_eq!(role_names(&ann.me().await), ["basic_user"]);
}

#[tokio::test]
async fn a_role_of_nobody_is_a_404_and_a_role_that_is_none_a_422() {
    let server = Server::start().await;
    let (_, root) = ann_and_root(&server).await;
    for path in ["/users/add-role", "/users/remove-role"] {
        root.post_json(path, &role("nobody", "admin")).await.refused(404);
        root.post_json(path, &role("ann", "emperor")).await.refused_field("role_name");
        root.post_json(path, &json!({"username": "ann"})).await.refused_field("role_name");
    }
}

#[tokio::test]
async fn the_last_admin_stays_admin() {
    let server = Server::start().await;
    let (_, root) = ann_and_root(&server).await;
    root.post_json("/users/remove-role", &role("root", "admin")).await.refused(409);
    root.post_empty("/users/root/disable").await.refused(409);
    root.get("/users/").await.ok();

    root.post_json("/users/add-role", &role("ann", "admin")).await.ok();
    root.post_json("/users/remove-role", &role("root", "admin")).await.ok();
    root.get("/users/").await.refused(403);
}

#[tokio::test]
async fn a_disabled_admin_does_not_count_as_one() {
    let server = Server::start().await;
    let (_, root) = ann_and_root(&server).await;
    root.post_json("/users/add-role", &role("ann", "admin")).await.ok();
    root.post_empty("/users/ann/disable").await.ok();
    root.post_json("/users/remove-role", &role("root", "admin")).await.refused(409);
}

#[tokio::test]
async fn two_admins_who_demote_each_other_at_once_leave_one() {
    let server = Server::start().await;
    let (ann, root) = ann_and_root(&server).await;
    for _ in 0..5 {
        root.post_json("/users/add-role", &role("ann", "admin")).await.ok();
        let (for_root, for_ann) = (role("root", "admin"), role("ann", "admin"));
        let both = tokio::join!(
            ann.post_json("/users/remove-role", &for_root),
            root.post_json("/users/remove-role", &for_ann)
        );
        let done = [both.0.status, both.1.status].iter().filter(|&&status| status == 200).count();
        assert_eq!(done, 1, "{} {}", both.0.status, both.1.status);
        if ann.get("/users/").await.status == 200 {
            ann.post_json("/users/add-role", &role("root", "admin")).await.ok();
        }
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_comes_back_when_enabled() {
    let server = Server::start().await;
    let (ann, root) = ann_and_root(&server).await;
    let mut socket = ann.socket().await;
    root.post_empty("/users/ann/disable").await.ok();
    ann.get("/users/me").await.refused(401);
    ann.refresh().await.refused(401);
    server.reach.sign_in("ann", PASSWORD).await.refused(401);
    assert_eq!(socket.closed().await.code, 4401);

    root.post_empty("/users/ann/enable").await.ok();
    ann.get("/users/me").await.refused(401);
    server.sign_in("ann").await.me().await;
}

#[tokio::test]
async fn disabling_and_enabling_twice_is_as_good_as_once() {
    let server = Server::start().await;
    let (_, root) = ann_and_root(&server).await;
    for action in ["disable", "disable", "enable", "enable"] {
        let done = root.post_empty(&format!("/users/ann/{action}")).await.ok();
        assert!(done["message"].is_string(), "{done}");
    }
    server.sign_in("ann").await.me().await;
}

#[tokio::test]
async fn logging_a_user_out_ends_every_login_but_not_the_account() {
    let server = Server::start().await;
    let (ann, root) = ann_and_root(&server).await;
    let elsewhere = server.sign_in("ann").await;
    let mut sockets = [ann.socket().await, elsewhere.socket().await];
    root.post_empty("/users/ann/logout").await.ok();
    for login in [&ann, &elsewhere] {
        login.get("/users/me").await.refused(401);
        login.refresh().await.refused(401);
    }
    for socket in &mut sockets {
        assert_eq!(socket.closed().await.code, 4401);
    }
    server.sign_in("ann").await.me().await;
}

#[tokio::test]
async fn what_admins_do_to_users_is_for_admins_and_for_users_who_exist() {
    let server = Server::start().await;
    let (ann, root) = ann_and_root(&server).await;
    for action in ["disable", "enable", "logout"] {
        let path = format!("/users/root/{action}");
        server.reach.post(&path, &json!({})).await.refused_saying(401, "Not authenticated");
        ann.post_empty(&path).await.refused_saying(403, "Insufficient permissions");
        root.post_empty(&format!("/users/nobody/{action}")).await.refused(404);
    }
    for path in ["/users/add-role", "/users/remove-role"] {
        ann.post_json(path, &role("root", "admin")).await.refused_saying(403, "Insufficient permissions");
    }
}

#[tokio::test]
async fn a_logout_holds_after_a_restart() {
    let mut server = Server::start().await;
    let (ann, root) = ann_and_root(&server).await;
    root.post_empty("/users/ann/logout").await.ok();
    server.restart().await;
    ann.get("/users/me").await.refused(401);
    root.me().await;
}
