//! What the end-to-end tests need of the harness.

pub use tamis_harness::ports::{SHIFT as PORT_SHIFT, free as free_port};
pub use tamis_harness::{
    Answer, Backend, Chromium, Folder, FolderOptions, Nginx, Objects, Postgres, ReceivedRequest,
    Relay, Reply, RunningProcess, command, command_in, eventually, eventually_or, exchange, get,
    held_back, python_environment, request, root, tamis, up,
};
