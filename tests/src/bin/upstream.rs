//! `sample-upstream --listen ADDR`: the sample upstream by itself. `GET /__seen` tells what it was asked.

use std::net::SocketAddr;

use clap::Parser;
use holdgate_tests::upstream::Upstream;

/// A small IAM-like API that remembers what it was asked.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8003")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let upstream = Upstream::start(Arguments::parse().listen).await?;
    println!("upstream http://{}", upstream.address);
    tokio::signal::ctrl_c().await?;
    Ok(())
}
