//! What travelled on a link: a capture of tcpdump, read packet by packet.

use super::hosts::Host;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tamis_e2e::eventually;
use tempfile::TempDir;

/// A running capture of the link.
pub(super) struct Recording {
    process: Child,
    file: PathBuf,
    _folder: TempDir,
}

/// One side of a TCP connection: from, to.
pub(super) type Side = ((IpAddr, u16), (IpAddr, u16));

/// What travelled.
#[derive(Default)]
pub(super) struct Traffic {
    /// By side: the octets by their place in the stream.
    pieces: BTreeMap<Side, BTreeMap<u32, Vec<u8>>>,
    /// Datagrams with port 53 at either end, and others.
    pub(super) dns: usize,
    pub(super) other_datagrams: usize,
}

impl Recording {
    /// Starts to record on the bridge.
    pub(super) fn start(outside: &Host) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("link.pcap");
        let mut command = outside.command("tcpdump");
        // Of any interface: what passes the bridge is seen once, at its own.
        command.args(["-i", "br0", "-U", "-s", "0", "-Z", "root", "-w"]).arg(&file);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The head of the file is written when it listens.
        eventually("tcpdump listens", || {
            std::fs::metadata(&file).is_ok_and(|about| about.len() >= 24).then_some(())
        });
        Self { process, file, _folder: folder }
    }

    /// Ends, and reads what it saw once `enough` of it is there.
    pub(super) fn end(mut self, enough: impl Fn(&Traffic) -> bool) -> Traffic {
        eventually("the packets are in the file", || {
            enough(&Traffic::read(&std::fs::read(&self.file).unwrap())).then_some(())
        });
        let id = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        self.process.wait().unwrap();
        Traffic::read(&std::fs::read(&self.file).unwrap())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn be16(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

impl Traffic {
    /// Reads a file in the format of pcap with Ethernet frames (draft-ietf-opsawg-pcap).
    fn read(file: &[u8]) -> Self {
        let mut traffic = Self::default();
        let mut rest = file.get(24..).unwrap_or_default();
        while rest.len() >= 16 {
            let length = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
            let Some(frame) = rest.get(16..16 + length) else { break };
            traffic.frame(frame);
            rest = &rest[16 + length..];
        }
        traffic
    }

    fn frame(&mut self, frame: &[u8]) {
        const IPV4: u16 = 0x0800;
        const IPV6: u16 = 0x86dd;
        if frame.len() < 54 {
            return;
        }
        let packet = &frame[14..];
        let four = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap();
        let sixteen = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap();
        match be16(frame, 12) {
            IPV4 => {
                let (head, end) = (usize::from(packet[0] & 15) * 4, usize::from(be16(packet, 2)));
                let between = (IpAddr::from(four(12)), IpAddr::from(four(16)));
                self.segment(packet[9], between, &packet[head..end]);
            }
            IPV6 => {
                let end = 40 + usize::from(be16(packet, 4));
                let between = (IpAddr::from(sixteen(8)), IpAddr::from(sixteen(24)));
                self.segment(packet[6], between, &packet[40..end]);
            }
            _ => {}
        }
    }

    fn segment(&mut self, protocol: u8, (from, to): (IpAddr, IpAddr), segment: &[u8]) {
        const TCP: u8 = 6;
        const UDP: u8 = 17;
        if !matches!(protocol, TCP | UDP) {
            return;
        }
        let ports = (be16(segment, 0), be16(segment, 2));
        if protocol == UDP {
            let dns = ports.0 == 53 || ports.1 == 53;
            *(if dns { &mut self.dns } else { &mut self.other_datagrams }) += 1;
            return;
        }
        let place = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
        let content = &segment[usize::from(segment[12] >> 4) * 4..];
        let pieces = self.pieces.entry(((from, ports.0), (to, ports.1))).or_default();
        if !content.is_empty() {
            pieces.insert(place, content.to_vec());
        }
    }

    /// The octets of each side, in order; a piece that was sent twice counts once.
    pub(super) fn streams(&self) -> BTreeMap<Side, Vec<u8>> {
        let joined = |pieces: &BTreeMap<u32, Vec<u8>>| {
            let (mut all, mut next) = (Vec::new(), None::<u32>);
            for (place, content) in pieces {
                let seen = next.map_or(0, |next| next.saturating_sub(*place) as usize);
                all.extend_from_slice(content.get(seen..).unwrap_or_default());
                let end = place.wrapping_add(content.len() as u32);
                next = Some(next.map_or(end, |next| next.max(end)));
            }
            all
        };
        self.pieces.iter().map(|(side, pieces)| (*side, joined(pieces))).collect()
    }

    /// Whether a text travelled as it is.
    pub(super) fn has(&self, text: &str) -> bool {
        let found = |octets: &Vec<u8>| octets.windows(text.len()).any(|one| one == text.as_bytes());
        self.streams().values().any(found)
    }
}

/// What is wrong with the octets of a side as TLS 1.3; `None`: nothing.
///
/// Every octet is in a record of TLS, nothing but the first messages of a handshake is readable, and a server's hello
/// chooses TLS 1.3 by its `supported_versions` (RFC 8446 §4.2.1).
pub(super) fn not_tls13(octets: &[u8], server: bool) -> Option<String> {
    let (mut rest, mut records, mut chosen) = (octets, 0, false);
    while rest.len() >= 5 {
        let (kind, length) = (rest[0], usize::from(be16(rest, 3)));
        if !(20..=23).contains(&kind) || rest[1] != 3 {
            return Some(format!("record {records} begins with {:02x?}", &rest[..5]));
        }
        // Cut off where the capture ends.
        let Some(content) = rest.get(5..5 + length) else { break };
        // Readable are ClientHello and ServerHello; everything later is application data to whoever watches.
        if kind == 22 && !matches!(content.first(), Some(1 | 2)) {
            return Some(format!("record {records} is a readable message of a handshake"));
        }
        chosen |= kind == 22 && content.windows(6).any(|one| one == [0, 0x2b, 0, 2, 3, 4]);
        rest = &rest[5 + length..];
        records += 1;
    }
    (server && !chosen && !octets.is_empty()).then(|| "no hello that chooses TLS 1.3".to_owned())
}
