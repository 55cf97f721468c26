//! People who sign in, one after the other on each connection, until they are told to stop.

use std::net::SocketAddr;
use std::time::Instant;

use clap::Args;
use futures_util::future::try_join_all;

use crate::apart::{self, Apart, Stop};
use crate::http::Client;
use crate::people::{self, Account};
use crate::stats::Latency;
use crate::{Result, at_least_one};

#[derive(Args, Debug, Clone)]
pub struct SigningIn {
    /// Sign-ins under way at once, each of an account of its own
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    pub signing_in: usize,
    /// auth.bcrypt_cost of the natter that is started; one that runs already has its own
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(4..=16))]
    pub bcrypt_cost: u32,
}

impl SigningIn {
    /// For a server whose other users are there already: making them at this cost would take minutes.
    pub fn setting(&self) -> String {
        format!("auth.bcrypt_cost={}", self.bcrypt_cost)
    }
}

pub struct SignIns {
    pub latency: Latency,
    pub secs: f64,
}

impl SignIns {
    pub fn per_sec(&self) -> f64 {
        self.latency.count() as f64 / self.secs
    }
}

pub fn start(addr: SocketAddr, accounts: Vec<Account>) -> Apart<SignIns> {
    apart::start(move |stop| async move {
        let start = Instant::now();
        let signing_in = accounts.iter().map(|account| again_and_again(addr, account, &stop));
        let mut latency = Latency::default();
        for one in try_join_all(signing_in).await? {
            latency.add(&one);
        }
        Ok(SignIns { latency, secs: start.elapsed().as_secs_f64() })
    })
}

async fn again_and_again(addr: SocketAddr, account: &Account, stop: &Stop) -> Result<Latency> {
    let (mut client, mut latency) = (Client::connect(addr).await?, Latency::default());
    while !stop.is_set() {
        let start = Instant::now();
        people::sign_in(&mut client, account).await?;
        latency.record(start.elapsed());
    }
    Ok(latency)
}

/// Verifications of a password per second of one core, and nothing else.
pub async fn bare_per_sec(cost: u32) -> Result<f64> {
    const VERIFICATIONS: u32 = 5;
    let verifying = tokio::task::spawn_blocking(move || {
        let (hash, start) = (bcrypt::hash(people::PASSWORD, cost)?, Instant::now());
        for _ in 0..VERIFICATIONS {
            bcrypt::verify(people::PASSWORD, &hash)?;
        }
        Result::Ok(f64::from(VERIFICATIONS) / start.elapsed().as_secs_f64())
    });
    verifying.await?
}
