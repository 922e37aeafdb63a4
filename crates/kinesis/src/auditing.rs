//! Running a deterministic job again, to say what comes out of it.
//!
//! | module | is |
//! | --- | --- |
//! | [`fetch`] | a dossier and its contents, from a file or over HTTP, bounded and checked |
//! | [`rerun`] | the job in a sandbox of this machine |
//! | [`work`] | all of it in one directory, within a time |
//! | [`finding`] | what was found, with its salt, kept before anything is committed |

pub(crate) mod fetch;
pub(crate) mod finding;
pub(crate) mod rerun;
pub(crate) mod work;

/// An error with what caused it, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    crate::output::safe(&text)
}
