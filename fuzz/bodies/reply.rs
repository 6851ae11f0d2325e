//! Any bytes as replies of a server: however they arrive, they are the same replies.

use traject_engine::smtp::ehlo::Capabilities;
use traject_engine::smtp::reply::{Reply, ReplyError, ReplyParser};

/// Reads the bytes as replies, at once and piece by piece.
pub(crate) fn run(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let whole = replies(stream, stream.len());
    assert_eq!(replies(stream, usize::from(*piece)), whole);
    assert_eq!(replies(stream, 1), whole);
    for reply in whole.iter().flatten() {
        assert!((200..600).contains(&reply.code), "{reply}");
        assert!(!reply.text.contains(['\r', '\n']), "{reply:?}");
    }
}

/// What is read when so many bytes arrive at a time. Nothing is, after an error.
fn replies(stream: &[u8], piece: usize) -> Vec<Result<Reply, ReplyError>> {
    let mut parser = ReplyParser::new();
    let mut found = Vec::new();
    for mut part in stream.chunks(piece.max(1)) {
        let mut capabilities = Capabilities::default();
        let mut visit = |number, text: &[u8]| capabilities.take_line(number, text);
        while let Some(result) = parser.next_with(&mut part, &mut visit) {
            let failed = result.is_err();
            found.push(result.map(|reply| reply.to_reply()));
            if failed {
                return found;
            }
        }
    }
    found
}
