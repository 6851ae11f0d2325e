//! One request over a Unix socket.

use std::io;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::error::{CommandError, ErrorKind};

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    method: &'static str,
    /// With what stands behind the `?`.
    path: String,
    body: Option<Value>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was printed.
    Done,
    /// The daemon said no, in these words.
    Refused { status: u16, text: String },
}

impl Request {
    /// Looks.
    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), body: None }
    }

    /// Changes something.
    pub(super) fn post(path: &str, body: Value) -> Self {
        Self { method: "POST", path: path.to_owned(), body: Some(body) }
    }

    /// With a parameter, if it has a value.
    pub(super) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        let Some(value) = value else { return self };
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    self.path.push(char::from(byte));
                }
                byte => self.path.push_str(&format!("%{byte:02X}")),
            }
        }
        self
    }
}

/// Asks, and hands what is answered to `print` as it comes.
pub(super) fn ask(
    socket: &Path,
    request: &Request,
    json: bool,
    print: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<Answer, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::new(ErrorKind::System, error))?;
    runtime.block_on(async {
        let stream = UnixStream::connect(socket).await;
        let stream = stream.map_err(|error| nobody(socket, &error))?;
        let answer = exchange(stream, request, json, print).await;
        answer.map_err(|error| CommandError::new(ErrorKind::System, error))
    })
}

/// Why there is nobody to ask, and what to do about it.
fn nobody(socket: &Path, error: &io::Error) -> CommandError {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "does the daemon run? `--socket` names its control socket, `--config` its configuration"
        }
        io::ErrorKind::ConnectionRefused => {
            "the daemon that had opened it is gone; it opens it anew when it starts"
        }
        io::ErrorKind::PermissionDenied => {
            "only the account of the daemon may, and its group with `traject daemon --control-group`"
        }
        _ => "`--socket` names the control socket of the daemon",
    };
    let error = anyhow!("cannot reach a daemon at {}: {error}", socket.display());
    CommandError::new(ErrorKind::System, error).hint(hint)
}

async fn exchange(
    stream: UnixStream,
    request: &Request,
    json: bool,
    print: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the last answer, or with this process.
    tokio::spawn(connection);
    let form = if json { "application/json" } else { "text/plain" };
    let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
    let http = hyper::Request::builder()
        .method(request.method)
        .uri(&request.path)
        .header(header::HOST, "traject")
        .header(header::ACCEPT, form)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)?;
    let response = sender.send_request(http).await.context("the daemon does not answer")?;
    let status = response.status();
    let mut body = response.into_body();
    let mut refusal = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer breaks off")?;
        if let Some(bytes) = frame.data_ref() {
            match status.is_success() {
                true => print(bytes)?,
                false => refusal.extend_from_slice(bytes),
            }
        }
    }
    match status.is_success() {
        true => Ok(Answer::Done),
        false => {
            let text = String::from_utf8_lossy(&refusal).into_owned();
            Ok(Answer::Refused { status: status.as_u16(), text })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_as_urls_have_them() {
        let request = Request::get("/p").with("a", Some("x y&z=1")).with("b", None);
        assert_eq!(request.with("c", Some("é.test")).path, "/p?a=x%20y%26z%3D1&c=%C3%A9.test");
    }

    #[test]
    fn who_cannot_be_reached_comes_with_what_to_do() {
        for (kind, hint) in [
            (io::ErrorKind::NotFound, "does the daemon run?"),
            (io::ErrorKind::ConnectionRefused, "is gone"),
            (io::ErrorKind::PermissionDenied, "--control-group"),
            (io::ErrorKind::Other, "--socket"),
        ] {
            let text = nobody(Path::new("/s"), &kind.into()).text();
            assert!(text.contains(hint), "{text}");
        }
    }
}
