//! Passwords against their hashes. Such a hash is slow by intent, so threads of their own compare, at most half as many as
//! the machine has cores, and a caller waits for the result without a thread. Filters take turns: their hashes say how long each turn is.

mod turns;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier as _};
use futures_channel::oneshot;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use turns::Turns;
pub(crate) use turns::{QueueFull, TurnOwner};

/// Bytes of a password: more than anybody types, and cheap to copy.
const MAX_PASSWORD: usize = 512;
/// Bytes of a hash: an Argon2 hash with the longest salt and output that the PHC form has.
const MAX_HASH: usize = 256;
/// Memory of an Argon2 hash in KiB: RFC 9106 §4 recommends 64 MiB where memory is scarce.
const MAX_ARGON2_KIB: u32 = 64 * 1024;
/// Passes of an Argon2 hash over its memory: more than any recommendation (RFC 9106 §4: 3; OWASP: 5).
const MAX_ARGON2_PASSES: u32 = 10;
/// Lanes of an Argon2 hash (RFC 9106 §4).
const MAX_ARGON2_LANES: u32 = 4;
/// Cost of a bcrypt hash, about a second; usual are 10 to 12.
const MAX_BCRYPT_COST: u32 = 14;
/// Comparisons of all filters that wait at once. Each takes a place among the waiting calls of its filter, too.
const MAX_WAITING: usize = 256;

/// Why a text is no hash that this host compares with. Nothing of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashFault {
    /// No form that is known.
    Form,
    /// An Argon2 hash beyond the bounds.
    Argon2Cost,
    /// A bcrypt hash beyond the bound.
    BcryptCost,
}

impl fmt::Display for HashFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "it is neither an Argon2 hash (`$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`) nor one of bcrypt (`$2b$12$…`, `$2a$`, `$2y$`)",
            ),
            Self::Argon2Cost => write!(
                f,
                "an Argon2 hash may use at most {MAX_ARGON2_KIB} KiB, {MAX_ARGON2_PASSES} passes and {MAX_ARGON2_LANES} lanes"
            ),
            Self::BcryptCost => {
                write!(f, "a bcrypt hash may have a cost of at most {MAX_BCRYPT_COST}")
            }
        }
    }
}

/// A hash within the bounds.
pub(crate) enum BoundedHash {
    Argon2(Box<PasswordHash>),
    Bcrypt(String),
}

impl BoundedHash {
    /// Parses a hash and checks what it costs.
    pub(crate) fn parse(text: &str) -> Result<Self, HashFault> {
        if text.len() > MAX_HASH {
            return Err(HashFault::Form);
        }
        if text.starts_with("$argon2") {
            return Self::argon2(text);
        }
        let known = ["$2a$", "$2b$", "$2y$"].iter().any(|form| text.starts_with(form));
        let parts: bcrypt::HashParts = text.parse().map_err(|_| HashFault::Form)?;
        match parts.get_cost() {
            _ if !known => Err(HashFault::Form),
            cost if cost > MAX_BCRYPT_COST => Err(HashFault::BcryptCost),
            _ => Ok(Self::Bcrypt(text.to_owned())),
        }
    }

    fn argon2(text: &str) -> Result<Self, HashFault> {
        let hash = PasswordHash::new(text).map_err(|_| HashFault::Form)?;
        let params = Params::try_from(&hash).map_err(|_| HashFault::Form)?;
        let whole = hash.salt.is_some() && hash.hash.is_some();
        if !whole || argon2::Algorithm::new(hash.algorithm).is_err() {
            return Err(HashFault::Form);
        }
        if params.m_cost() > MAX_ARGON2_KIB
            || params.t_cost() > MAX_ARGON2_PASSES
            || params.p_cost() > MAX_ARGON2_LANES
        {
            return Err(HashFault::Argon2Cost);
        }
        Ok(Self::Argon2(Box::new(hash)))
    }

    /// Whether it was made of the password. Lasts from milliseconds to a second.
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

/// Longest wait for a turn: who asked has been given up by then.
const WAIT_MAX: Duration = Duration::from_secs(10);

struct Comparison {
    password: Vec<u8>,
    hash: BoundedHash,
    result: oneshot::Sender<bool>,
    clock: Clock,
    since: Instant,
}

impl Comparison {
    /// Whether somebody waits for it, and not for too long.
    fn is_wanted(&self) -> bool {
        !self.result.is_canceled() && self.clock.since(self.since) <= WAIT_MAX
    }
}

/// Compares on another thread, in the turn of `owner`. Who drops the result before a thread began saves the work; it is
/// cancelled when the turn does not come in time.
pub(crate) fn compare(
    owner: &TurnOwner,
    clock: Clock,
    password: Vec<u8>,
    hash: BoundedHash,
) -> Result<oneshot::Receiver<bool>, QueueFull> {
    let (result, receiver) = oneshot::channel();
    if password.len() > MAX_PASSWORD {
        // Nobody has it.
        let _ = result.send(false);
        return Ok(receiver);
    }
    let queue = queue().ok_or(QueueFull)?;
    let comparison = Comparison { password, hash, result, clock, since: clock.now() };
    queue.lock().push(owner, comparison)?;
    queue.more.notify_one();
    Ok(receiver)
}

/// All comparisons that wait.
struct ComparisonQueue {
    turns: Mutex<Turns<Comparison>>,
    more: Condvar,
}

impl ComparisonQueue {
    fn lock(&self) -> MutexGuard<'_, Turns<Comparison>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next comparison that somebody waits for.
    fn next(&self) -> Comparison {
        let mut turns = self.lock();
        loop {
            turns.retain(Comparison::is_wanted);
            match turns.pop() {
                Some(next) => return next,
                None => turns = self.more.wait(turns).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// The queue of all comparisons, and its threads when it is used for the first time. `None` where no thread can be made.
fn queue() -> Option<&'static ComparisonQueue> {
    static QUEUE: OnceLock<Option<Arc<ComparisonQueue>>> = OnceLock::new();
    QUEUE
        .get_or_init(|| {
            let (turns, more) = (Mutex::new(Turns::new(MAX_WAITING)), Condvar::new());
            let queue = Arc::new(ComparisonQueue { turns, more });
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let make = |_| {
                let queue = Arc::clone(&queue);
                let thread = std::thread::Builder::new().name("tamis-passwords".to_owned());
                thread.spawn(move || serve(&queue)).is_ok()
            };
            let made = (0..(cores / 2).max(1)).map(make).filter(|made| *made).count();
            (made > 0).then_some(queue)
        })
        .as_deref()
}

fn serve(queue: &ComparisonQueue) {
    loop {
        let Comparison { password, hash, result, .. } = queue.next();
        let _ = result.send(hash.is_of(&password));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of `correct horse` with small costs, made by the Python packages `bcrypt` and `argon2-cffi`.
    const HASHES: [&str; 6] = [
        "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$2y$04$XAGCfWOO7SFNql1PRyWXTOkKPuVUog77NBULFYcTrWjaFYhTujxtq",
        "$argon2id$v=19$m=1024,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$UDengyDgIHrEpswm+GeJvBdp5V8H6p/bLZoLqHbHq7Y",
        "$argon2i$v=19$m=1024,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$jBebvc7acXJ2B+UFhWhVyB7bOqWG3MAsF5c0JvVBbC0",
        "$argon2d$v=19$m=1024,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$kZAu0vfK/+5NDEs+prG4Q/bYbxxB7oGOgIAcF8FgcFA",
        "$argon2id$v=19$m=64,t=2,p=4$MDEyMzQ1Njc4OWFiY2RlZg$F0uoLIrZB4rer16zF9uOYw",
    ];

    #[test]
    fn a_hash_without_a_known_form_or_beyond_the_bounds_is_refused() {
        let salt = "c29tZXNhbHRzb21lc2FsdA";
        let output = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let argon2 = |params: &str| format!("$argon2id$v=19${params}${salt}${output}");
        let bcrypt =
            |head: &str| format!("{head}abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e");
        let rows = [
            (String::new(), Some(HashFault::Form)),
            ("secret".into(), Some(HashFault::Form)),
            ("$apr1$abcdefgh$0123456789012345678901".into(), Some(HashFault::Form)),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".into(), Some(HashFault::Form)),
            (argon2("m=19456,t=2,p=1"), None),
            (argon2("m=65536,t=3,p=4"), None),
            (argon2("m=65537,t=3,p=4"), Some(HashFault::Argon2Cost)),
            (argon2("m=4294967295,t=1,p=1"), Some(HashFault::Argon2Cost)),
            (argon2("m=1024,t=11,p=1"), Some(HashFault::Argon2Cost)),
            (argon2("m=1024,t=1,p=5"), Some(HashFault::Argon2Cost)),
            (argon2("m=1,t=1,p=1"), Some(HashFault::Form)),
            (argon2("m=99999999999,t=1,p=1"), Some(HashFault::Form)),
            (format!("$argon2id$v=19$m=1024,t=1,p=1${salt}"), Some(HashFault::Form)),
            (format!("$argon2x$v=19$m=1024,t=1,p=1${salt}${output}"), Some(HashFault::Form)),
            (argon2(&format!("m=1024,t=1,p=1,data={}", "a".repeat(300))), Some(HashFault::Form)),
            (bcrypt("$2b$12$"), None),
            (bcrypt("$2y$14$"), None),
            (bcrypt("$2b$15$"), Some(HashFault::BcryptCost)),
            (bcrypt("$2b$31$"), Some(HashFault::BcryptCost)),
            (bcrypt("$2x$10$"), Some(HashFault::Form)),
            (bcrypt("$2b$1x$"), Some(HashFault::Form)),
            (bcrypt("$2b$12$x"), Some(HashFault::Form)),
            (bcrypt("$2b$12"), Some(HashFault::Form)),
        ];
        for (text, fault) in rows {
            assert_eq!(BoundedHash::parse(&text).err(), fault, "{text}");
        }
    }

    fn asked(password: Vec<u8>, hash: BoundedHash) -> oneshot::Receiver<bool> {
        let owner = TurnOwner { namespace: "a".into(), filter: 1 };
        compare(&owner, Clock::system(), password, hash).unwrap()
    }

    #[test]
    fn who_waits_longer_than_the_limit_is_given_up_and_so_is_who_left() {
        let time = tamis_ambient::ManualTime::new();
        let (clock, owner) = (time.clock(), TurnOwner { namespace: "a".into(), filter: 1 });
        let queue = ComparisonQueue { turns: Mutex::new(Turns::new(16)), more: Condvar::new() };
        let ask = |password: &str| {
            let (result, receiver) = oneshot::channel();
            let hash = BoundedHash::parse(HASHES[0]).unwrap();
            let (password, since) = (password.into(), clock.now());
            let one = Comparison { password, hash, result, clock, since };
            queue.lock().push(&owner, one).unwrap();
            receiver
        };
        let mut old = ask("old");
        time.advance(Duration::from_secs(6));
        let (left, mut new) = (ask("left"), ask("new"));
        drop(left);
        time.advance(Duration::from_secs(5));
        assert_eq!(queue.next().password, b"new");
        assert!(old.try_recv().is_err() && new.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_password_is_of_the_hash_that_was_made_of_it_and_of_no_other() {
        for hash in HASHES {
            for (password, same) in [
                ("correct horse", true),
                ("correct hors", false),
                ("correct horse ", false),
                ("", false),
            ] {
                let hash = BoundedHash::parse(hash).unwrap();
                let result = asked(password.into(), hash).await;
                assert_eq!(result, Ok(same), "{password}");
            }
        }
        let hash = BoundedHash::parse(HASHES[0]).unwrap();
        assert_eq!(asked(vec![b'a'; 513], hash).await, Ok(false));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,120}", tail in "[$a-z0-9=,./+]{0,80}") {
            let _ = BoundedHash::parse(&text);
            let _ = BoundedHash::parse(&format!("$argon2{tail}"));
            let _ = BoundedHash::parse(&format!("$2b${tail}"));
        }
    }
}
