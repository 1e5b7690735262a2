//! The address of an agent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::WorkloadError;

/// The socket of a SPIFFE agent, `unix:///PATH` or `unix:/PATH` (Workload Endpoint §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSocket(PathBuf);

impl AgentSocket {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for AgentSocket {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let path = text.strip_prefix("unix:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        // A host, a query or a fragment has no meaning for a socket, so it is a mistake.
        match path {
            Some(path)
                if path.starts_with('/')
                    && path.len() > 1
                    && !path.contains(['?', '#', '\0'])
                    && !path.starts_with("//") =>
            {
                Ok(Self(path.into()))
            }
            _ => Err(WorkloadError::Socket { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for AgentSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_an_agent_is_an_absolute_path() {
        for good in ["unix:///run/spire/agent.sock", "unix:/run/spire/agent.sock"] {
            let socket: AgentSocket = good.parse().unwrap();
            assert_eq!(socket.to_string(), "unix:///run/spire/agent.sock");
        }
        for bad in [
            "",
            "/run/spire/agent.sock",
            "unix:",
            "unix:/",
            "unix:///",
            "unix:agent.sock",
            "unix://agent.sock",
            "unix://host/agent.sock",
            "unix:////agent.sock",
            "unix:///agent.sock?x=1",
            "unix:///agent.sock#x",
            "UNIX:///agent.sock",
            "tcp://127.0.0.1:8081",
        ] {
            let error = bad.parse::<AgentSocket>().unwrap_err().to_string();
            assert!(error.contains("unix:///"), "{bad}: {error}");
        }
    }
}
