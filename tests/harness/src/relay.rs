//! A TCP relay between two processes that a test can redirect and cut.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Accepts connections at its own address and forwards them to the first target that answers; ends when
/// dropped.
pub struct Relay {
    address: String,
    way: Arc<Way>,
}

#[derive(Default)]
struct Way {
    targets: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
    held: AtomicBool,
    over: AtomicBool,
}

impl Relay {
    /// Starts one without a target: it closes every connection.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let way = Arc::new(Way::default());
        let shared = Arc::clone(&way);
        std::thread::spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((from, _)) => lead(&shared, from),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(_) => return,
                }
            }
        });
        Self { address, way }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Forwards new connections to the first of these that answers; open connections stay.
    pub fn to(&self, targets: &[&str]) {
        let targets = targets.iter().map(|&target| target.to_owned());
        *self.way.targets.lock().unwrap() = targets.collect();
    }

    /// Stops forwarding without closing anything, like a machine that hangs; or continues with everything
    /// held back.
    pub fn hold(&self, held: bool) {
        self.way.held.store(held, Ordering::Relaxed);
    }

    /// Closes every connection, and has no target from now on.
    pub fn cut(&self) {
        self.to(&[]);
        self.way.end();
    }
}

fn lead(way: &Arc<Way>, from: TcpStream) {
    let targets = way.targets.lock().unwrap().clone();
    let Some(to) = targets.iter().find_map(|target| TcpStream::connect(target).ok()) else {
        return;
    };
    from.set_nonblocking(false).unwrap();
    let ends = [from, to];
    let both = || ends.each_ref().map(|end| end.try_clone().unwrap());
    way.open.lock().unwrap().extend(both());
    let ([a, b], [c, d]) = (both(), both());
    let (there, back) = (Arc::clone(way), Arc::clone(way));
    std::thread::spawn(move || copy(&there, a, b));
    std::thread::spawn(move || copy(&back, d, c));
}

impl Way {
    fn end(&self) {
        for end in self.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// Copies until either side ends, which ends the other.
fn copy(way: &Way, mut from: TcpStream, mut to: TcpStream) {
    let mut some = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut some) {
        while way.held.load(Ordering::Relaxed) && !way.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&some[..count]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.way.over.store(true, Ordering::Relaxed);
        self.cut();
    }
}
