//! The commands that are suggested.

use super::suggestions::next;
use super::*;

#[test]
fn the_next_release_is_the_next_patch() {
    for (now, then) in
        [("0.1.0", "0.1.1"), ("1.2.9", "1.2.10"), ("1.0.0-rc", "1.0.0-rc.1"), ("7", "7.1")]
    {
        assert_eq!(next(now), then);
    }
}

#[test]
fn paths_are_quoted_where_a_shell_would_read_them_otherwise() {
    for (path, quotes) in [
        ("examples/shop/.tamis/store/a-0.1.0.wasm", "examples/shop/.tamis/store/a-0.1.0.wasm"),
        ("my mesh/a.wasm", "'my mesh/a.wasm'"),
        ("a;rm -rf b", "'a;rm -rf b'"),
        ("it's", r"'it'\''s'"),
        ("$HOME", "'$HOME'"),
    ] {
        assert_eq!(quoted(Path::new(path)), quotes);
    }
}
