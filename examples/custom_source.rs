//! A sensor of your own on the board's page: how many bits of randomness the
//! kernel has, once a second (random(4)).
//!
//! ```sh
//! cargo run --example custom_source -- 127.0.0.1:8642
//! ```

use std::{fs, time::Duration};

use boardcast::{
    App, net,
    sources::{Readings, Sampler, Source},
    telemetry::{BootTime, Channel, Hub, HubSettings},
};

struct Entropy;

impl Source for Entropy {
    fn name(&self) -> &str {
        "entropy"
    }

    fn sample(&mut self, _: BootTime, readings: &mut Readings) {
        let channel = Channel::gauge("kernel/entropy").map(|channel| channel.unit("bit"));
        match fs::read_to_string("/proc/sys/kernel/random/entropy_avail") {
            Ok(text) => readings.push(channel, text.trim().parse().unwrap_or(f64::NAN)),
            Err(error) => readings.fail(channel, error.to_string()),
        }
    }
}

fn main() -> boardcast::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8642".into());
    let listeners = net::Listeners::bind(&[boardcast::config::parse_listen(&address)?])?;
    println!("Listening on {}", listeners.addresses()[0]);
    let hub = Hub::new(HubSettings::default());
    let app = App::new(hub.clone());
    let server = net::start(listeners, app, net::Gate::local(), net::Limits::default(), None)?;
    let mut sampler = Sampler::new(hub, Duration::from_secs(1));
    sampler.add(Entropy);
    let _running = sampler.start().expect("a thread");
    server.join().map(drop)
}
