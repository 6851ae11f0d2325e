//! Answers: each in JSON for machines and as text for people, each failure with what to do.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use traject_net::driver::HandleError;

/// What an endpoint answers with.
pub(super) struct Shown {
    json: String,
    text: String,
}

/// Why there is no answer.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// The text form of a response, until it is known which one is wanted.
#[derive(Clone)]
struct Text(String);

impl Shown {
    /// An answer in both forms.
    pub(super) fn new(json: &impl Serialize, text: String) -> Self {
        // Unwrap is OK because answers have no maps with keys that are not strings.
        Self { json: serde_json::to_string(json).unwrap(), text }
    }

    /// An answer whose JSON form is written already.
    pub(super) const fn written(json: String, text: String) -> Self {
        Self { json, text }
    }
}

impl Problem {
    /// The request is wrong.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: error.into(), hint: None }
    }

    /// What it is about is not there.
    pub(super) fn missing(error: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, ..Self::bad(error) }
    }

    /// The new configuration cannot be used.
    pub(super) fn unusable(error: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, ..Self::bad(error) }
    }

    /// It cannot be answered now.
    pub(super) fn unavailable(error: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::bad(error) }
    }

    /// Adds what to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<HandleError> for Problem {
    fn from(error: HandleError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json + "\n"));
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.extensions_mut().insert(Text(self.text));
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let hint = self.hint.as_ref().map(|hint| format!("hint: {hint}\n"));
        let text = format!("error: {}\n{}", self.error.trim_end(), hint.unwrap_or_default());
        let mut response = (self.status, Json(&self)).into_response();
        response.extensions_mut().insert(Text(text));
        response
    }
}

/// Gives those who ask for `text/plain` the text.
pub(super) async fn in_the_form_wanted(request: Request, next: Next) -> Response {
    let plain = wants_text(request.headers());
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Text>() {
        Some(Text(text)) if plain => (response.status(), text).into_response(),
        _ => response,
    }
}

pub(super) fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.starts_with("text/plain"))
}

/// What stands behind the `?`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::bad(error.body_text())),
        }
    }
}

/// A JSON object in the body; no body is an empty object.
pub(super) struct Object<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Object<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let read = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
        let bytes = read.map_err(|error| Problem::bad(format!("the body: {error}")))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let object = serde_json::from_slice(text);
        object.map(Self).map_err(|error| Problem::bad(format!("the body: {error}")))
    }
}

/// Longest body of a request: 64 KiB.
const BODY_BYTES_MAX: usize = 64 << 10;
