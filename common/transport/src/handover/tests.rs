use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;

use super::*;
use crate::listen::bind;

fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

#[test]
fn a_successor_has_the_very_sockets_and_what_waits_in_their_queues() {
    let folder = tempfile::tempdir().unwrap();
    let (path, local) = (folder.path().join("give"), Address::Unix(folder.path().join("local")));
    let any: Address = "127.0.0.1:0".parse().unwrap();
    let tcp = bind(&any, count(2)).unwrap();
    let unix = bind(&local, count(1)).unwrap();
    let there = tcp[0].local_address().unwrap();
    let Address::Tcp(address) = there else { panic!() };
    // They wait before anybody accepts, and outlive the process that has the sockets now.
    let mut early: Vec<_> =
        (0..8).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let giver = HandoverSocket::bind(&path).unwrap();
    let handed = move || {
        let tcp = tcp.into_iter().map(|socket| ("http", "127.0.0.1:0".parse().unwrap(), socket));
        let unix = unix.into_iter().map(|socket| ("local", local.clone(), socket));
        let all = tcp.chain(unix);
        Ok(all
            .map(|(name, address, socket)| NamedSocket {
                name: name.to_owned(),
                address,
                socket: HandedSocket::Listener(socket),
            })
            .collect())
    };
    let given = std::thread::spawn(move || giver.give(handed));
    let (predecessor, taken) = Predecessor::ask(&path).unwrap();
    predecessor.serving().unwrap();
    given.join().unwrap().unwrap();
    let names: Vec<_> = taken.iter().map(|one| (one.name.as_str(), &one.address)).collect();
    assert_eq!((names.len(), names[0], names[2].0), (3, ("http", &any), "local"));
    let mut accepted = 0;
    for one in taken {
        let HandedSocket::Listener(BoundListener::Tcp(listener)) = one.socket else { continue };
        assert_eq!(listener.local_addr().unwrap(), address);
        while let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(b"x").unwrap();
            accepted += 1;
        }
    }
    assert_eq!(accepted, 8);
    for stream in &mut early {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
    }
}

#[tokio::test]
async fn a_successor_reads_what_waits_at_a_udp_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("give");
    let port = crate::udp::bind_udp("127.0.0.1:0".parse().unwrap(), count(1)).unwrap().remove(0);
    let there = port.local_address().unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"early", there).unwrap();
    let giver = HandoverSocket::bind(&path).unwrap();
    let (name, address) = ("dns".to_owned(), Address::Tcp(there));
    let socket = HandedSocket::Udp(port);
    let given =
        std::thread::spawn(move || giver.give(|| Ok(vec![NamedSocket { name, address, socket }])));
    let (predecessor, mut taken) = Predecessor::ask(&path).unwrap();
    predecessor.serving().unwrap();
    given.join().unwrap().unwrap();
    let HandedSocket::Udp(taken) = taken.remove(0).socket else { panic!("no UDP port") };
    let taken = taken.into_port().unwrap();
    taken.readable().await.unwrap();
    let mut room = [0; 8];
    let from = client.local_addr().unwrap();
    assert_eq!(taken.receive(&mut room).unwrap(), Some((5, from)));
    assert!(taken.send(&room[..5], from).unwrap());
    let (length, sender) = client.recv_from(&mut room).unwrap();
    assert_eq!((&room[..length], sender), (&b"early"[..], there));
}

#[test]
fn a_socket_that_a_killed_process_left_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("give");
    drop(HandoverSocket::bind(&path).unwrap());
    assert!(path.exists(), "a process that is killed removes nothing");
    let giver = HandoverSocket::bind(&path).unwrap();
    let in_use =
        |path: &Path| HandoverSocket::bind(path).unwrap_err().kind() == io::ErrorKind::AddrInUse;
    assert!(in_use(&path), "a process listens there");
    drop(giver);
    for (name, make) in [
        ("file", (|path| std::fs::write(path, "kept").unwrap()) as fn(&Path)),
        ("folder", |path| std::fs::create_dir(path).unwrap()),
        ("link", |path| std::os::unix::fs::symlink("give", path).unwrap()),
    ] {
        let other = folder.path().join(name);
        make(&other);
        assert!(in_use(&other), "{name}");
        assert!(std::fs::symlink_metadata(&other).is_ok(), "{name} stays");
    }
}

#[test]
fn what_hands_nothing_over_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("give");
    assert!(Predecessor::ask(&path).is_err(), "nobody is there");
    let giver = HandoverSocket::bind(&path).unwrap();
    // A successor that fails before it serves is an error, and the old process continues.
    let given = std::thread::spawn(move || giver.give(|| Ok(Vec::new())));
    let (predecessor, taken) = Predecessor::ask(&path).unwrap();
    assert!(taken.is_empty());
    drop(predecessor);
    assert!(given.join().unwrap().is_err());
}
