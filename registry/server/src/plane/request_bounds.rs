//! How many sources and files a request may have, and how long their names may be.

use tamis_api::ApiProblem;

use crate::plane::problem::bad;

/// The most sources of one request, and the most files.
const MAX_SOURCES: usize = 10_000;
/// Bytes of the name of a source, and of the path of a file: longer than any path that a system opens (`PATH_MAX`, less its
/// end), since each problem and each document repeats it.
const MAX_NAME_BYTES: usize = 4_095;

/// Refuses more sources, or more files, than [`MAX_SOURCES`].
pub(crate) fn has_few(number: usize) -> Result<(), ApiProblem> {
    if number <= MAX_SOURCES {
        return Ok(());
    }
    let title = format!("more than {MAX_SOURCES} sources or files in one request");
    Err(bad(title, "apply them in parts"))
}

/// Refuses a name longer than [`MAX_NAME_BYTES`].
pub(crate) fn has_short_name(name: &str) -> Result<(), ApiProblem> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    let beginning: String = name.chars().filter(|one| !one.is_control()).take(60).collect();
    let title = format!(
        "the name `{beginning}…` of a source or a file has {} bytes, and at most {MAX_NAME_BYTES} are allowed",
        name.len()
    );
    Err(bad(title, "use the path of the file in its folder"))
}
