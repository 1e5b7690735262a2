//! nginx of Debian's package, as a server behind Tamis that others know.

use crate::eventually;
use crate::ports::free;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running nginx; killed when dropped.
pub struct Nginx {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// With the directives of one server, such as `listen @LISTEN@; location / { return 200; }`.
    #[must_use]
    pub fn start(server: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free()));
        let path = folder.path().display().to_string();
        let config = CONFIG.replace("@SERVER@", server);
        let config = config.replace("@FOLDER@", &path).replace("@LISTEN@", &address.to_string());
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .args(["-e", &format!("{path}/error.log")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}; `cargo xtask setup` installs it"));
        let nginx = Self { process, address, _folder: folder };
        eventually("nginx accepts", || TcpStream::connect(address).ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const CONFIG: &str = "
worker_processes 1;
master_process off;
daemon off;
pid @FOLDER@/nginx.pid;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path @FOLDER@; proxy_temp_path @FOLDER@; fastcgi_temp_path @FOLDER@; uwsgi_temp_path @FOLDER@; scgi_temp_path @FOLDER@;
  server { @SERVER@ }
}
";
