//! The payload of `Shaping` frames: what throttles have let pass.

use traject_engine::Timestamp;
use traject_engine::shaping::history::{ShapingHistory, ThrottleHistory, ThrottleKind};
use traject_engine::shaping::throttle::Rate;

use super::payload::{Malformed, Reader, push_number, push_text};

const VERSION: u8 = 1;

pub(super) fn encode_shaping(ShapingHistory { throttles }: &ShapingHistory) -> Vec<u8> {
    let mut out = vec![VERSION];
    push_number(&mut out, throttles.len() as u64);
    for ThrottleHistory { kind, scope, rate: Rate { events, per }, passed } in throttles {
        out.push(match kind {
            ThrottleKind::Messages => 0,
            ThrottleKind::Connections => 1,
        });
        push_text(&mut out, scope);
        push_number(&mut out, u64::from(*events));
        push_number(&mut out, per.as_micros() as u64);
        push_number(&mut out, passed.len() as u64);
        let mut before = 0;
        for (at, events) in passed {
            push_number(&mut out, at.as_micros().saturating_sub(before));
            push_number(&mut out, u64::from(*events));
            before = at.as_micros();
        }
    }
    out
}

pub(super) fn decode_shaping(payload: &[u8]) -> Result<ShapingHistory, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.byte()? != VERSION {
        return Err(Malformed);
    }
    let throttles = (0..reader.count()?).map(|_| decode_throttle(&mut reader));
    let throttles = throttles.collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(ShapingHistory { throttles })
}

fn decode_throttle(reader: &mut Reader<'_>) -> Result<ThrottleHistory, Malformed> {
    let kind = match reader.byte()? {
        0 => ThrottleKind::Messages,
        1 => ThrottleKind::Connections,
        _ => return Err(Malformed),
    };
    let scope = reader.text()?;
    let events = word(reader.number()?)?;
    let per = std::time::Duration::from_micros(reader.number()?);
    let mut at = 0_u64;
    let passed = (0..reader.count()?).map(|_| {
        at = at.checked_add(reader.number()?).ok_or(Malformed)?;
        Ok((Timestamp(at), word(reader.number()?)?))
    });
    let passed = passed.collect::<Result<_, _>>()?;
    Ok(ThrottleHistory { kind, scope, rate: Rate { events, per }, passed })
}

fn word(number: u64) -> Result<u32, Malformed> {
    number.try_into().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn throttle() -> impl Strategy<Value = ThrottleHistory> {
        let passed = prop::collection::vec((any::<u64>(), any::<u32>()), 0..9);
        ("\\PC{0,9}", any::<u32>(), any::<u64>(), any::<bool>(), passed).prop_map(
            |(scope, events, per, messages, mut passed)| {
                passed.sort_unstable();
                ThrottleHistory {
                    kind: if messages { ThrottleKind::Messages } else { ThrottleKind::Connections },
                    scope: scope.into(),
                    rate: Rate { events, per: Duration::from_micros(per) },
                    passed: passed.into_iter().map(|(at, n)| (Timestamp(at), n)).collect(),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_history_comes_back_as_it_was(throttles in prop::collection::vec(throttle(), 0..5)) {
            let history = ShapingHistory { throttles };
            prop_assert_eq!(decode_shaping(&encode_shaping(&history)), Ok(history));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode_shaping(&bytes);
        }
    }

    /// What is on disks must stay readable.
    #[test]
    fn the_bytes_are_pinned() {
        let throttle = ThrottleHistory {
            kind: ThrottleKind::Connections,
            scope: "g".into(),
            rate: Rate { events: 300, per: Duration::from_micros(5) },
            passed: vec![(Timestamp(1000), 2), (Timestamp(1001), 1)],
        };
        let bytes = encode_shaping(&ShapingHistory { throttles: vec![throttle] });
        assert_eq!(bytes, [1, 1, 1, 1, b'g', 0xac, 2, 5, 2, 0xe8, 7, 2, 1, 1]);
    }
}
