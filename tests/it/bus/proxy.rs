//! A wire between a node and its NATS server that can be made to swallow everything, both ways, without being cut.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

pub struct Proxy {
    pub addr: SocketAddr,
    swallows: watch::Sender<bool>,
    /// Ends with the proxy.
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (swallows, swallowed) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, port, swallowed));
        Self { addr, swallows, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// From now on nothing passes. Connections of that time never carry again; later ones do, once this is over.
    pub fn swallow(&self, swallows: bool) {
        self.swallows.send_replace(swallows);
    }
}

async fn accept(listener: TcpListener, port: u16, swallows: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        connections.spawn(pass(from_near, to_far, swallows.clone()));
        connections.spawn(pass(from_far, to_near, swallows.clone()));
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 * 1024];
    let mut dead = false;
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        dead |= *swallows.borrow();
        if !dead && to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
