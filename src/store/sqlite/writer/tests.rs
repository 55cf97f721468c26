//! What the one thread that writes to the tables promises those who bring it work.

use std::sync::mpsc;

use super::*;

/// A writer on a database with one table, and the folder it lives in.
fn writer(write_queue: usize) -> (tempfile::TempDir, Arc<Writer>, Arc<Metrics>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.db");
    let db = Connection::open(&file).expect("a database");
    db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER PRIMARY KEY)").expect("a table");
    let metrics = Arc::new(Metrics::default());
    let config = config::Store { write_queue, ..Default::default() };
    let space = Arc::new(Space::new(&file, &config, metrics.clone()));
    let reopen = Box::new(move || Connection::open(&file));
    let writer = Writer::start(db, reopen, space, &config, metrics.clone()).expect("a thread");
    (folder, Arc::new(writer), metrics)
}

fn insert(n: i64) -> impl Fn(&Connection) -> rusqlite::Result<usize> + Send + 'static {
    move |db| db.execute("INSERT INTO t VALUES (?)", [n])
}

fn all(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    db.prepare("SELECT n FROM t ORDER BY n")?.query_map([], |row| row.get(0))?.collect()
}

/// Stops the thread inside an op; it goes on when the sender is dropped.
async fn hold(writer: &Arc<Writer>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<()>>) {
    let (go, wait) = mpsc::channel::<()>();
    let (inside, is_inside) = oneshot::channel();
    let (wait, inside) = (Mutex::new(wait), Mutex::new(Some(inside)));
    let writer = writer.clone();
    let held = tokio::spawn(async move {
        let op = move |_: &Connection| {
            if let Some(inside) = inside.lock().expect("no panic").take() {
                inside.send(()).expect("the test waits");
            }
            wait.lock().expect("no panic").recv().expect_err("the sender is dropped, never used");
            Ok(())
        };
        writer.write(Need::Room, op).await
    });
    is_inside.await.expect("the op runs");
    (go, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_op_that_panics_or_fails_is_alone_with_it() {
    let (_folder, writer, metrics) = writer(100);
    let (go, held) = hold(&writer).await;
    let panics = writer.write(Need::Room, |db| {
        insert(1)(db)?;
        if true { panic!("oh") } else { Ok(()) }
    });
    let fails = writer.write(Need::Room, |db| {
        insert(2)(db)?;
        insert(2)(db)
    });
    let (good, panicked, failed, _) = {
        let mut futures = (Box::pin(writer.write(Need::Room, insert(3))), Box::pin(panics), Box::pin(fails));
        let gate = async {
            drop(go);
            held.await.expect("no panic")
        };
        // Each is queued when it is first polled, so all of them are in one batch before the gate opens.
        tokio::join!(&mut futures.0, &mut futures.1, &mut futures.2, gate)
    };
    assert_eq!(good.expect("the good one is kept"), 1);
    assert!(matches!(panicked, Err(StoreError::Unavailable(text)) if text.contains("oh")));
    assert!(matches!(failed, Err(StoreError::Unavailable(_))));
    assert_eq!(writer.write(Need::Room, all).await.expect("the thread lives"), vec![3]);
    assert_eq!(metrics.store_errors.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_does_not_share_the_fate_of_what_finds_the_disk_full() {
    let (_folder, writer, _) = writer(100);
    let (go, held) = hold(&writer).await;
    let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    let full = Mutex::new(Some(full));
    let promised = {
        let (reply, answer) = oneshot::channel();
        let op = move |_: &Connection| full.lock().expect("no panic").take().map_or(Ok(()), Err);
        let job = Op::new(op, Durability::Full, Need::Promised, move |result| drop(reply.send(result)));
        writer.submit(Box::new(job));
        answer
    };
    let urgent = {
        let (reply, answer) = oneshot::channel();
        writer.write_then(Need::Reserve, insert(1), move |result| drop(reply.send(result)));
        answer
    };
    drop(go);
    held.await.expect("no panic").expect("no error");
    assert!(matches!(promised.await, Ok(Err(StoreError::Full(_)))));
    assert!(matches!(urgent.await, Ok(Ok(1))));
    assert_eq!(writer.write(Need::Room, all).await.expect("the thread lives"), vec![1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_queue_a_write_is_busy_and_counted() {
    let (_folder, writer, metrics) = writer(2);
    let (go, held) = hold(&writer).await;
    let queued: Vec<_> = (1..=2)
        .map(|n| {
            let (reply, answer) = oneshot::channel();
            writer.write_then(Need::Room, insert(n), |done| drop(reply.send(done)));
            answer
        })
        .collect();
    assert!(matches!(writer.write(Need::Room, insert(3)).await, Err(StoreError::Busy)));
    assert!(metrics.render().contains(r#"natter_bound_hits_total{setting="store.write_queue"} 1"#));
    drop(go);
    held.await.expect("no panic").expect("no error");
    for answer in queued {
        assert!(matches!(answer.await, Ok(Ok(1))));
    }
    assert_eq!(writer.write(Need::Room, all).await.expect("all is well"), vec![1, 2]);
    assert_eq!(metrics.write_queue.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_at_the_end_is_finished() {
    let (folder, writer, _) = writer(100);
    let (go, held) = hold(&writer).await;
    let late = tokio::spawn({
        let (reply, answer) = oneshot::channel();
        writer.write_then(Need::Room, insert(7), |done| drop(reply.send(done)));
        answer
    });
    drop(go);
    held.await.expect("no panic").expect("no error");
    let stopping = writer.clone();
    tokio::task::spawn_blocking(move || stopping.stop()).await.expect("no panic");
    assert!(matches!(late.await.expect("no panic"), Ok(Ok(1))));
    assert!(matches!(writer.write(Need::Room, all).await, Err(StoreError::Unavailable(_))));
    let db = Connection::open(folder.path().join("test.db")).expect("it is there");
    assert_eq!(all(&db).expect("it is readable"), vec![7]);
}
