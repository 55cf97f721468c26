//! What the other tests here stand on: databases that come and go, a FerretDB and a NATS server that can be killed, and a
//! proxy before them that the driver's connections really pass.

use mongodb::{
    Client,
    bson::{Document, doc},
};

use crate::harness::{
    Nats, Proxy, in_time,
    services::{Database, Ferret, mongodb, mongodb_is_given, server_of, through},
};

async fn client(url: &str) -> Client {
    Client::with_uri_str(url).await.expect("a URL of a MongoDB")
}

async fn insert(client: &Client, database: &str, id: &str) -> mongodb::error::Result<()> {
    let collection = client.database(database).collection::<Document>("c");
    collection.insert_one(doc! { "_id": id }).await.map(drop)
}

async fn ids(client: &Client, database: &str) -> Vec<String> {
    let collection = client.database(database).collection::<Document>("c");
    let mut cursor = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.expect("a cursor");
    let mut ids = Vec::new();
    while cursor.advance().await.expect("the next document") {
        ids.push(cursor.current().get_str("_id").expect("an _id").to_owned());
    }
    ids
}

#[tokio::test]
async fn a_database_is_gone_with_its_test() {
    let client = client(&mongodb()).await;
    let database = Database::fresh();
    let name = database.name().to_owned();
    insert(&client, &name, "here").await.expect("an insert");
    assert!(client.list_database_names().await.expect("names").contains(&name));
    drop(database);
    assert!(!client.list_database_names().await.expect("names").contains(&name));
}

#[tokio::test]
async fn a_killed_ferretdb_comes_back_with_what_it_acknowledged() {
    if mongodb_is_given() {
        // There is none to kill: `database_down` cuts the connections instead.
        return;
    }
    let mut ferret = Ferret::start().await;
    let url = format!("{}?serverSelectionTimeoutMS=2000", ferret.url());
    let mut connected = client(&url).await;
    for round in ["a", "b"] {
        insert(&connected, "natter_test", round).await.expect("an insert");
        ferret.kill().await;
        insert(&connected, "natter_test", "lost").await.expect_err("nobody is there");
        ferret.restart().await;
        connected = client(&url).await;
    }
    assert_eq!(ids(&connected, "natter_test").await, ["a", "b"]);
}

#[tokio::test]
async fn an_insert_whose_answer_is_lost_is_there() {
    let database = Database::fresh();
    let proxy = Proxy::start(server_of(database.url())).await;
    let options = "&serverSelectionTimeoutMS=500&retryWrites=false";
    let through_proxy = client(&(through(database.url(), proxy.addr()) + options)).await;
    let direct = client(database.url()).await;
    insert(&through_proxy, database.name(), "answered").await.expect("an insert");
    proxy.lose_answers();
    insert(&through_proxy, database.name(), "lost").await.expect_err("the answer is lost");
    assert_eq!(ids(&direct, database.name()).await, ["answered", "lost"]);
    proxy.cut().await;
    insert(&through_proxy, database.name(), "cut").await.expect_err("there is no connection");
    proxy.heal();
    insert(&through_proxy, database.name(), "healed").await.expect("the driver connects again");
    assert_eq!(ids(&direct, database.name()).await, ["answered", "healed", "lost"]);
}

#[tokio::test]
async fn a_killed_nats_server_comes_back_at_its_address() {
    let mut nats = Nats::start().await;
    for _ in 0..2 {
        let client = in_time("a connection to NATS", async_nats::connect(nats.url())).await.expect("a NATS server");
        client.flush().await.expect("it answers");
        nats.kill().await;
        async_nats::connect(nats.url()).await.expect_err("nobody is there");
        nats.restart().await;
    }
}
