//! Any bytes as a body, on the wire and off it.

use traject_engine::smtp::data::{
    BodyError, BodyInfo, BodyRules, DotReader, DotWriter, StrayPolicy,
};

use super::source::Source;

/// Reads the bytes as they would come from a client, and sends them as a body.
pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source(bytes);
    let rules = BodyRules {
        size_bytes_max: match source.byte() {
            255 => u64::MAX,
            few => u64::from(few) * 4,
        },
        stray: [StrayPolicy::Refuse, StrayPolicy::Fix][source.below(2)],
        take_header: [None, Some("X-Binding")][source.below(2)],
        head_bytes_max: source.below(40),
    };
    let piece = usize::from(source.byte()).max(1);
    reads(rules, source.0, piece);
    survives(source.0, piece);
}

/// How a body arrives changes nothing, and what is kept is within the rules.
fn reads(rules: BodyRules, wire: &[u8], piece: usize) {
    let (kept, consumed, end) = decode(rules, wire, wire.len().max(1));
    assert_eq!(decode(rules, wire, piece), (kept.clone(), consumed, end.clone()));
    assert!(kept.len() as u64 <= rules.size_bytes_max);
    if let Some(Ok(info)) = end {
        assert_eq!(info.size_bytes, kept.len() as u64);
        assert_eq!(info.eight_bit, !kept.is_ascii());
        assert!(is_clean(&kept), "{kept:?}");
        let head = &kept[..rules.head_bytes_max.min(kept.len())];
        assert_eq!(info.head.as_deref().unwrap_or_default(), head);
    }
}

/// A body that is sent ends where it ends and nowhere else, and arrives as clean lines.
fn survives(body: &[u8], piece: usize) {
    let mut wire = Vec::new();
    let mut writer = DotWriter::new();
    body.chunks(piece).for_each(|part| writer.encode(part, &mut wire));
    writer.finish(&mut wire);
    let mut at_once = Vec::new();
    let mut writer = DotWriter::new();
    writer.encode(body, &mut at_once);
    writer.finish(&mut at_once);
    assert_eq!(wire, at_once);
    let stray = StrayPolicy::Refuse;
    let rules = BodyRules { size_bytes_max: u64::MAX, stray, take_header: None, head_bytes_max: 0 };
    let (arrived, consumed, end) = decode(rules, &wire, piece);
    assert_eq!(consumed, wire.len(), "the body ends early");
    assert!(matches!(end, Some(Ok(_))), "{end:?}");
    if is_clean(body) && (body.is_empty() || body.ends_with(b"\r\n")) {
        assert_eq!(arrived, body);
    }
}

type Read = (Vec<u8>, usize, Option<Result<BodyInfo, BodyError>>);

fn decode(rules: BodyRules, wire: &[u8], piece: usize) -> Read {
    let mut reader = DotReader::new(rules);
    let (mut kept, mut consumed) = (Vec::new(), 0);
    for part in wire.chunks(piece) {
        let decoded = reader.decode(part, &mut kept);
        consumed += decoded.consumed;
        if decoded.end.is_some() {
            return (kept, consumed, decoded.end);
        }
    }
    (kept, consumed, None)
}

/// Whether CR and LF stand together only, and NUL nowhere.
fn is_clean(bytes: &[u8]) -> bool {
    let mut before = 0;
    let paired = bytes.iter().all(|&byte| {
        let right = (byte == b'\n') == (before == b'\r');
        before = byte;
        right && byte != 0
    });
    paired && before != b'\r'
}
