use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn part(name: u8, value: u8) -> Part {
    Part::new(format!("slot/{name}"), json!({ "value": value }))
}

fn parts(values: &BTreeMap<u8, u8>) -> Parts {
    values.iter().map(|(name, value)| part(*name, *value)).collect()
}

fn report() -> NodeReport {
    NodeReport {
        identity: None,
        plaintext: Vec::new(),
        node: "sidecar:shop/a/0".to_owned(),
        slots: Vec::new(),
        statistics: Vec::new(),
        shadows: Vec::new(),
        problems: Vec::new(),
    }
}

fn outcome(nonce: u64, taken: bool) -> ChangeOutcome {
    ChangeOutcome { nonce, taken, why: None, report: report() }
}

fn hello(held: &mut HeldParts) -> Hello {
    held.hello("sidecar:shop/a/0", "1.0.0")
}

/// Bytes on the wire.
fn bytes(frames: &[PartsFrame]) -> usize {
    frames.iter().map(|frame| serde_json::to_vec(frame).unwrap().len()).sum()
}

#[test]
fn g7_a_push_costs_what_changed_and_not_what_there_is() {
    let mut values: BTreeMap<u32, u32> = (0..10_000).map(|name| (name, 0)).collect();
    let all = |values: &BTreeMap<u32, u32>| -> Parts {
        let one = |(name, value): (&u32, &u32)| {
            Part::new(format!("slot/shop/filter-{name}"), json!({ "config": { "value": value } }))
        };
        values.iter().map(one).collect()
    };
    let mut held = HeldParts::new();
    let mut session = Session::new(&hello(&mut held));
    let first = session.frames(&all(&values), 1).unwrap();
    let whole = bytes(&first);
    session.acknowledge(&outcome(first[0].nonce, true)).unwrap();
    values.insert(4_711, 1);
    let second = session.frames(&all(&values), 2).unwrap();
    let one = bytes(&second);
    assert_eq!(second.iter().map(|frame| frame.upserts.len()).sum::<usize>(), 1);
    assert!(one < 300 && whole > 1_000_000, "{one} of {whole} bytes");
}

#[test]
fn g8_a_reconnect_sends_only_what_differs() {
    let mut values: BTreeMap<u8, u8> = (0..100).map(|name| (name, 0)).collect();
    let mut held = HeldParts::new();
    let mut session = Session::new(&hello(&mut held));
    for frame in session.frames(&parts(&values), 1).unwrap() {
        if let Some(change) = held.take(frame).unwrap() {
            held.keep(change);
        }
    }
    for cut in 0..1_000_u64 {
        let mut session = Session::new(&hello(&mut held));
        if cut % 2 == 0 {
            assert_eq!(session.frames(&parts(&values), cut), None, "it has everything");
            continue;
        }
        values.insert(u8::try_from(cut % 100).unwrap(), u8::try_from(cut % 251).unwrap());
        for frame in session.frames(&parts(&values), cut).into_iter().flatten() {
            assert!(bytes(std::slice::from_ref(&frame)) < 300);
            if let Some(change) = held.take(frame).unwrap() {
                held.keep(change);
            }
        }
    }
    assert_eq!(held.parts(), &parts(&values));
}

#[test]
fn what_was_refused_is_not_sent_again_until_it_is_something_else() {
    let mut values = BTreeMap::from([(1, 1)]);
    let mut session = Session::new(&hello(&mut HeldParts::new()));
    let nonce = session.frames(&parts(&values), 1).unwrap()[0].nonce;
    assert!(session.outstanding());
    assert_eq!(session.frames(&parts(&values), 1), None, "it has not answered");
    session.acknowledge(&outcome(nonce, false)).unwrap();
    assert_eq!(session.frames(&parts(&values), 1), None, "it refused that");
    values.insert(2, 2);
    assert!(session.frames(&parts(&values), 2).is_some());
}

#[test]
fn an_answer_to_what_was_not_sent_ends_the_stream() {
    let mut session = Session::new(&hello(&mut HeldParts::new()));
    assert_eq!(session.acknowledge(&outcome(0, true)), Err(ProtocolError::Nonce(0)));
    let nonce = session.frames(&parts(&BTreeMap::from([(1, 1)])), 1).unwrap()[0].nonce;
    assert!(session.acknowledge(&outcome(nonce + 1, true)).is_err());
    session.acknowledge(&outcome(nonce, true)).unwrap();
    assert!(session.acknowledge(&outcome(nonce, true)).is_err(), "twice");
}

#[test]
fn an_altered_part_is_never_taken() {
    let mut session = Session::new(&hello(&mut HeldParts::new()));
    let mut frames = session.frames(&parts(&BTreeMap::from([(1, 1)])), 1).unwrap();
    std::sync::Arc::make_mut(&mut frames[0].upserts[0]).body = json!({ "value": 2 });
    let mut held = HeldParts::new();
    assert!(matches!(held.take(frames.remove(0)), Err(ProtocolError::Altered(_))));
    assert!(held.parts().is_empty());
}

#[test]
fn a_change_larger_than_a_frame_is_taken_when_its_last_frame_is_there() {
    let long = "x".repeat(400_000);
    let all: Parts =
        (0..10).map(|name| Part::new(format!("slot/{name}"), json!({ "text": long }))).collect();
    let mut session = Session::new(&hello(&mut HeldParts::new()));
    let frames = session.frames(&all, 1).unwrap();
    assert!(frames.len() > 3);
    let mut held = HeldParts::new();
    let count = frames.len();
    for (at, frame) in frames.into_iter().enumerate() {
        assert!(serde_json::to_vec(&frame).unwrap().len() < 2 << 20);
        let change = held.take(frame).unwrap();
        assert_eq!(change.is_some(), at + 1 == count);
        change.into_iter().for_each(|change| held.keep(change));
    }
    assert_eq!(held.parts(), &all);
}

/// One frame of a change that goes on.
fn going_on(upserts: Vec<Part>, removes: Vec<String>) -> PartsFrame {
    let upserts = upserts.into_iter().map(std::sync::Arc::new).collect();
    PartsFrame { nonce: 1, revision: 1, upserts, removes, last: false }
}

/// However a change goes on without an end, it ends the stream before it has taken much of the memory.
#[test]
fn a_change_that_never_ends_is_refused_before_it_takes_too_much_memory() {
    let text = json!("x".repeat(3 << 20));
    // Each value of a list takes many times its two bytes of JSON.
    let list = json!(vec![0; 200_000]);
    let fields: serde_json::Map<_, _> = (0..50_000).map(|at| (at.to_string(), json!([]))).collect();
    let name = "n".repeat(3 << 20);
    let part = |at: usize, body: &serde_json::Value| Part::new(format!("slot/{at}"), body.clone());
    type Frame<'a> = Box<dyn Fn(usize) -> PartsFrame + 'a>;
    let rows: [(&str, Frame<'_>); 6] = [
        ("texts", Box::new(|at| going_on(vec![part(at, &text)], Vec::new()))),
        ("one part again and again", Box::new(|_| going_on(vec![part(0, &list)], Vec::new()))),
        ("lists", Box::new(|at| going_on(vec![part(at, &list)], Vec::new()))),
        ("fields", Box::new(|at| going_on(vec![part(at, &fields.clone().into())], Vec::new()))),
        ("names to remove", Box::new(|_| going_on(Vec::new(), vec![name.clone()]))),
        ("short names to remove", Box::new(|_| going_on(Vec::new(), vec![String::new(); 100_000]))),
    ];
    for (what, frame) in rows {
        let mut held = HeldParts::new();
        let refused = (0..100).find_map(|at| held.take(frame(at)).err()).expect(what);
        let by_number = refused == ProtocolError::TooLarge(MAX_PARTS);
        assert!(by_number || refused == ProtocolError::TooLong(MAX_BYTES), "{what}: {refused}");
        assert_eq!(by_number, what == "short names to remove");
        // The next stream of changes starts with an empty budget.
        hello(&mut held);
        let taken =
            held.take(PartsFrame { last: true, ..going_on(vec![part(0, &text)], Vec::new()) });
        assert!(taken.unwrap().is_some(), "{what}");
    }
}

/// Nor does it grow by changes that each fit; one that takes as much away as it brings does.
#[test]
fn a_plan_grows_no_larger_than_a_proxy_gives_to_it_however_many_changes_it_comes_in() {
    let list = json!(vec![0; 100_000]);
    let part = |at: usize| Part::new(format!("slot/{at}"), list.clone());
    let mut held = HeldParts::new();
    let mut change = |upserts: Vec<Part>, removes: Vec<String>| {
        let taken = held.take(PartsFrame { last: true, ..going_on(upserts, removes) });
        taken.map(|change| held.keep(change.unwrap()))
    };
    let most = (0..100).find(|at| change(vec![part(*at)], Vec::new()).is_err()).unwrap();
    assert!((10..60).contains(&most), "{most} of a few MiB each");
    assert_eq!(change(vec![part(0)], Vec::new()), Ok(()), "the same part again");
    assert!(change(vec![part(most)], Vec::new()).is_err());
    assert_eq!(change(vec![part(most)], vec!["slot/0".to_owned()]), Ok(()));
    assert!(change(vec![part(0)], Vec::new()).is_err());
}

#[test]
fn a_damaged_file_gives_up_the_damaged_part_alone() {
    let mut held = HeldParts::new();
    let mut session = Session::new(&hello(&mut held));
    for frame in session.frames(&parts(&BTreeMap::from([(1, 1), (2, 2)])), 7).unwrap() {
        held.take(frame).unwrap().into_iter().for_each(|change| held.keep(change));
    }
    let file = String::from_utf8(held.to_json().unwrap()).unwrap();
    let (same, bad) = HeldParts::from_json(file.as_bytes()).unwrap();
    assert_eq!((same.parts(), same.revision(), bad.len()), (held.parts(), 7, 0));
    let damaged = file.replace("\"value\":2", "\"value\":3");
    let (rest, bad) = HeldParts::from_json(damaged.as_bytes()).unwrap();
    assert_eq!((rest.parts().len(), bad), (1, vec!["slot/2".to_owned()]));
    assert!(HeldParts::from_json(b"rubbish").is_err());
}

#[test]
fn waits_double_are_spread_and_honour_what_was_asked() {
    use std::time::Duration;
    let mut backoff = Backoff::default();
    assert!(backoff.next(u64::MAX, None) <= Duration::from_millis(250));
    for _ in 0..40 {
        assert!(backoff.next(u64::MAX - 7, None) <= Duration::from_secs(30));
    }
    assert!(backoff.next(0, Some(Duration::from_secs(2))) >= Duration::from_secs(2));
    assert_eq!(backoff.next(0, None), Duration::ZERO);
    backoff.reset();
    assert!(backoff.next(249, None) == Duration::from_millis(249));
}

/// Events between the two sides.
#[derive(Debug, Clone)]
enum Event {
    /// Another plan is wanted.
    Want(u8, Option<u8>),
    /// The director sends what there is to send.
    Send,
    /// The next frame arrives.
    Deliver,
    /// The frame arrives twice.
    Twice,
    /// The proxy's answer arrives.
    Answer,
    /// The stream breaks and is opened again.
    Cut,
    /// The proxy restarts from its file.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_u8..6, proptest::option::of(0_u8..3)).prop_map(|(name, to)| Event::Want(name, to)),
        3 => Just(Event::Send),
        4 => Just(Event::Deliver),
        1 => Just(Event::Twice),
        3 => Just(Event::Answer),
        1 => Just(Event::Cut),
        1 => Just(Event::Restart),
    ]
}

struct World {
    values: BTreeMap<u8, u8>,
    ever: Vec<Parts>,
    held: HeldParts,
    session: Session,
    /// Frames and answers in transit.
    down: std::collections::VecDeque<PartsFrame>,
    up: std::collections::VecDeque<ChangeOutcome>,
}

impl World {
    fn new() -> Self {
        let mut held = HeldParts::new();
        let session = Session::new(&hello(&mut held));
        Self {
            values: BTreeMap::new(),
            ever: vec![Parts::default()],
            held,
            session,
            down: Default::default(),
            up: Default::default(),
        }
    }

    fn cut(&mut self) {
        self.down.clear();
        self.up.clear();
        self.session = Session::new(&hello(&mut self.held));
    }

    /// Any breach of the protocol ends the stream, as in production.
    fn deliver(&mut self, frame: PartsFrame) {
        let nonce = frame.nonce;
        match self.held.take(frame) {
            Ok(None) => {}
            Ok(Some(change)) => {
                self.held.keep(change);
                self.up.push_back(outcome(nonce, true));
            }
            Err(_) => self.cut(),
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Want(name, Some(value)) => {
                self.values.insert(*name, *value);
                self.ever.push(parts(&self.values));
            }
            Event::Want(name, None) => {
                self.values.remove(name);
                self.ever.push(parts(&self.values));
            }
            Event::Send => {
                let frames = self.session.frames(&parts(&self.values), 1);
                self.down.extend(frames.into_iter().flatten());
            }
            Event::Deliver => {
                if let Some(frame) = self.down.pop_front() {
                    self.deliver(frame);
                }
            }
            Event::Twice => {
                if let Some(frame) = self.down.pop_front() {
                    self.deliver(frame.clone());
                    self.deliver(frame);
                }
            }
            Event::Answer => {
                if let Some(answer) = self.up.pop_front()
                    && self.session.acknowledge(&answer).is_err()
                {
                    self.cut();
                }
            }
            Event::Cut => self.cut(),
            Event::Restart => {
                let file = self.held.to_json().unwrap();
                self.held = HeldParts::from_json(&file).unwrap().0;
                self.cut();
            }
        }
    }
}

proptest! {
    #[test]
    fn g9_a_proxy_always_has_what_was_wanted_once_and_in_quiet_what_is_wanted(
        events in proptest::collection::vec(event(), 0..80),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            prop_assert!(world.ever.contains(world.held.parts()));
        }
        for event in [Event::Send, Event::Deliver, Event::Answer].iter().cycle().take(40) {
            world.happen(event);
        }
        prop_assert_eq!(world.held.parts(), &parts(&world.values));
    }
}

#[test]
fn what_a_proxy_lacks_is_the_same_whether_it_told_or_was_sent_what_it_has() {
    let parts = |rows: &[(&str, u32)]| -> Parts {
        rows.iter().map(|(name, value)| Part::new((*name).to_owned(), json!(value))).collect()
    };
    let rows = [
        (parts(&[("a", 1), ("b", 1), ("d", 1)]), parts(&[("b", 2), ("c", 1), ("d", 1), ("e", 1)])),
        (parts(&[]), parts(&[("a", 1)])),
        (parts(&[("a", 1)]), parts(&[])),
        (parts(&[("a", 1)]), parts(&[("a", 1)])),
    ];
    for (has, wanted) in rows {
        let mut told = hello(&mut HeldParts::new());
        told.parts = has.versions();
        let told = Session::new(&told).frames(&wanted, 1);
        let mut held = HeldParts::new();
        let mut session = Session::new(&hello(&mut held));
        for push in session.frames(&has, 1).into_iter().flatten() {
            if let Some(change) = held.take(push).unwrap() {
                let nonce = change.nonce;
                held.keep(change);
                session.acknowledge(&outcome(nonce, true)).unwrap();
            }
        }
        let sent = session.frames(&wanted, 1);
        let content = |frames: Option<Vec<PartsFrame>>| {
            let frames = frames.into_iter().flatten();
            frames.map(|one| (one.upserts, one.removes)).collect::<Vec<_>>()
        };
        assert_eq!(content(told), content(sent));
    }
}
