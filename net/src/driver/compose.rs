//! Puts together the bodies of messages that the engine makes itself.

use memchr::memmem;
use traject_engine::ids::MessageId;
use traject_engine::io::{BodyPart, ComposeError, Quote, SpoolError};
use traject_engine::limits::QUOTED_HEADERS_BYTES_MAX;
use traject_engine::smtp::data::BodyInfo;

use crate::world::{BodyReader as _, BodyWriter, Spool};

/// Stages the body of `message`, made of `parts`.
pub(super) async fn compose<P: Spool>(
    spool: P,
    message: MessageId,
    parts: Vec<BodyPart>,
) -> Result<BodyInfo, ComposeError> {
    let writer = spool.stage(message).await.map_err(ComposeError::Spool)?;
    let mut body = Body { writer, size_bytes: 0, eight_bit: false };
    for part in parts {
        match part {
            BodyPart::Text(bytes) => body.append(&bytes).await?,
            BodyPart::Quote { message, quote } => body.quote(&spool, message, quote).await?,
        }
    }
    let Body { writer, size_bytes, eight_bit } = body;
    writer.finish().await.map_err(ComposeError::Spool)?;
    Ok(BodyInfo { size_bytes, eight_bit, received_headers: 0, header: None, head: None })
}

struct Body<W> {
    writer: W,
    size_bytes: u64,
    eight_bit: bool,
}

impl<W: BodyWriter> Body<W> {
    async fn append(&mut self, bytes: &[u8]) -> Result<(), ComposeError> {
        self.size_bytes += bytes.len() as u64;
        self.eight_bit = self.eight_bit || !bytes.is_ascii();
        self.writer.append(bytes).await.map_err(ComposeError::Spool)
    }

    async fn quote<P: Spool>(
        &mut self,
        spool: &P,
        message: MessageId,
        quote: Quote,
    ) -> Result<(), ComposeError> {
        let opened = spool.read(message).await.map_err(ComposeError::Original)?;
        let Some(mut reader) = opened else {
            let text = format!("message {message} has no body");
            return Err(ComposeError::Original(SpoolError::Io(text.into())));
        };
        let mut start = Vec::new();
        while let Some(piece) = reader.next().await.map_err(ComposeError::Original)? {
            match quote {
                Quote::All => self.append(&piece).await?,
                Quote::Headers => {
                    start.extend_from_slice(&piece);
                    if start.len() >= QUOTED_HEADERS_BYTES_MAX || has_header_end(&start) {
                        break;
                    }
                }
            }
        }
        self.append(header_section(&start)).await
    }
}

fn has_header_end(start: &[u8]) -> bool {
    start.starts_with(b"\r\n") || memmem::find(start, b"\r\n\r\n").is_some()
}

/// The header section at the start of a message, without the empty line; of one that is too long,
/// or has no end, the whole lines that are there.
fn header_section(start: &[u8]) -> &[u8] {
    if start.starts_with(b"\r\n") {
        return &[];
    }
    let start = &start[..start.len().min(QUOTED_HEADERS_BYTES_MAX)];
    let end = memmem::find(start, b"\r\n\r\n").or_else(|| memmem::rfind(start, b"\r\n"));
    end.map_or(&[], |end| &start[..end + 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_spool::MemorySpool;

    #[test]
    fn the_header_section_is_cut_at_the_end_of_a_line() {
        for (start, section) in [
            (&b"A: 1\r\nB: 2\r\n\r\ntext\r\n"[..], &b"A: 1\r\nB: 2\r\n"[..]),
            (b"\r\ntext\r\n\r\n", b""),
            (b"A: 1\r\n b\r\nB: no end", b"A: 1\r\n b\r\n"),
            (b"no line", b""),
            (b"", b""),
        ] {
            assert_eq!(header_section(start), section);
        }
        let mut long = b"A: 1\r\n".repeat(QUOTED_HEADERS_BYTES_MAX / 6 + 2);
        long.extend_from_slice(b"\r\n\r\n");
        let section = header_section(&long);
        assert!(section.len() <= QUOTED_HEADERS_BYTES_MAX && section.ends_with(b"A: 1\r\n"));
    }

    #[tokio::test]
    async fn parts_are_put_one_behind_the_other() {
        let spool = MemorySpool::default();
        let (original, id) = (MessageId(2), MessageId(4));
        spool.stage_bytes(original, "Subject: \u{e4}\r\n\r\nbody\r\n".into());
        let quote = |message, quote| BodyPart::Quote { message, quote };
        let text = |text: &str| BodyPart::Text(text.into());
        for (parts, body) in [
            (vec![text("a"), text("b")], "ab"),
            (vec![quote(original, Quote::Headers), text("|")], "Subject: \u{e4}\r\n|"),
            (vec![quote(original, Quote::All)], "Subject: \u{e4}\r\n\r\nbody\r\n"),
        ] {
            let info = compose(spool.clone(), id, parts).await.unwrap();
            assert_eq!(spool.body(id).unwrap(), body);
            let facts = (info.size_bytes, info.eight_bit);
            assert_eq!(facts, (body.len() as u64, !body.is_ascii()));
        }
        let missing = vec![quote(MessageId(6), Quote::Headers)];
        let result = compose(spool, id, missing).await;
        assert!(matches!(result, Err(ComposeError::Original(_))), "{result:?}");
    }
}
