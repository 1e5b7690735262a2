//! An S3 service that a test starts for itself.

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};

/// A service with the bucket `tamis`, on a thread of its own; ends when dropped.
pub struct Objects {
    endpoint: String,
    _stop: oneshot::Sender<()>,
    folder: TempDir,
}

impl Objects {
    /// Starts one.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("tamis")).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = service.build();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = serve(TcpListener::from_std(listener).unwrap(), service) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { endpoint, _stop: stop, folder }
    }

    /// Where it keeps its buckets, each in a folder of its name.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The settings of a client, named as in `object_store`.
    pub fn options(&self) -> [(&'static str, &str); 5] {
        [
            ("aws_endpoint", &self.endpoint),
            ("aws_region", "us-east-1"),
            ("aws_access_key_id", "key"),
            ("aws_secret_access_key", "secret"),
            ("allow_http", "true"),
        ]
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let server = Builder::new(TokioExecutor::new());
    // S3 checks the condition of a put and writes in one step; this service checks first and writes later.
    let puts = Arc::new(Mutex::new(()));
    while let Ok((socket, _)) = listener.accept().await {
        let (service, puts) = (service.clone(), Arc::clone(&puts));
        let one_by_one = service_fn(move |request: Request<Incoming>| {
            let (service, puts) = (service.clone(), Arc::clone(&puts));
            async move {
                let put = request.method() == Method::PUT;
                let _turn = if put { Some(puts.lock().await) } else { None };
                service.call(request.map(s3s::Body::from)).await
            }
        });
        let connection = server.serve_connection(TokioIo::new(socket), one_by_one).into_owned();
        tokio::spawn(async move { connection.await.ok() });
    }
}
