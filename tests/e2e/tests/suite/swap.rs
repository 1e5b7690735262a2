//! A thousand swaps under load: no request fails, and every response belongs to one generation.

use crate::guests::{GRANT, sign};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tamis_e2e::{Backend, Folder};

/// Keeps connections busy until told to end; returns how many requests failed and which generations
/// answered.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<(Vec<String>, BTreeSet<u64>)>>,
}

impl Load {
    fn start(address: &str, connections: usize, per_second: u64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let pause = Duration::from_micros(1_000_000 * connections as u64 / per_second);
        let threads = (0..connections).map(|_| {
            let (stop, sent, address) = (Arc::clone(&stop), Arc::clone(&sent), address.to_owned());
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(connection(&address, pause, &stop, &sent))
            })
        });
        Self { stop: Arc::clone(&stop), sent: Arc::clone(&sent), threads: threads.collect() }
    }

    fn end(self) -> (u64, Vec<String>, BTreeSet<u64>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut failed, mut generations) = (Vec::new(), BTreeSet::new());
        for thread in self.threads {
            let (some, seen) = thread.join().unwrap();
            failed.extend(some);
            generations.extend(seen);
        }
        (self.sent.load(Ordering::Relaxed), failed, generations)
    }
}

async fn connection(
    address: &str,
    pause: Duration,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> (Vec<String>, BTreeSet<u64>) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    let (mut failed, mut generations) = (Vec::new(), BTreeSet::new());
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        next += pause;
        tokio::time::sleep_until(next.into()).await;
        sent.fetch_add(1, Ordering::Relaxed);
        let request = http::Request::get("/load").header("host", "test.example");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        match sender.send_request(request).await {
            Err(error) => {
                failed.push(error.to_string());
                return (failed, generations);
            }
            Ok(response) => {
                let status = response.status();
                let named = response.headers().get_all("x-tamis-generation").iter();
                let named: Vec<u64> =
                    named.map(|value| value.to_str().unwrap().parse().unwrap()).collect();
                if status != 200 || named.len() != 1 {
                    failed.push(format!("{status}, generations {named:?}"));
                }
                generations.extend(named);
                if let Err(error) = response.into_body().collect().await {
                    failed.push(error.to_string());
                }
            }
        }
    }
    (failed, generations)
}

#[test]
fn g3_a_thousand_swaps_under_load_fail_no_request() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    // Two versions of one filter and two configurations: four combinations in turn.
    let mut locks = Vec::new();
    for version in ["1.0.0", "1.0.1"] {
        sign(&folder, version);
        locks.push(folder.read(".tamis/filters.lock.yaml"));
    }
    let config =
        |n: u32| format!("{{ do: edit, reads: [\":path\"], writes: [x-path, \"x-{n}\"] }}");
    folder.attach("guest", "test/guest", &config(0), GRANT, "");
    let attachments: Vec<String> =
        (0..2).map(|n| folder.read("guest.yaml").replace(&config(0), &config(n))).collect();
    let _gateway = folder.start(&["--name-generation", "--access-log", "off", "--workers", "2"]);
    let load = Load::start(&folder.http, 8, 1_500);
    let began = Instant::now();
    let first = folder.generation();
    let mut swaps = 0;
    for swap in 1..=1_000_u64 {
        // Either the version or the configuration changes, in turn.
        if swap % 2 == 0 {
            folder.write(".tamis/filters.lock.yaml", &locks[usize::from(swap % 4 == 0)]);
        } else {
            folder.write("guest.yaml", &attachments[usize::from(swap % 4 == 1)]);
        }
        let until = Instant::now() + Duration::from_secs(20);
        while folder.generation() != first + swap {
            assert!(Instant::now() < until, "swap {swap} was not taken");
            std::thread::sleep(Duration::from_millis(2));
        }
        swaps += 1;
    }
    let took = began.elapsed();
    let (sent, failed, generations) = load.end();
    println!(
        "{swaps} swaps in {:.1} s, {sent} requests ({:.0}/s), {} failed, {} generations answered",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        failed.len(),
        generations.len()
    );
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
    assert!(generations.len() > 500, "only {} generations answered", generations.len());
    let slot = folder.slot("test/guest").unwrap();
    assert_eq!(slot["state"], "serving");
}
