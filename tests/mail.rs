//! Mail that is hard to carry: of all sizes, with dots, long lines and bytes above 127.

/// A message as its client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its number, also in the local parts of its recipients.
    pub number: u32,
    /// The envelope's sender; empty for the null reverse-path.
    pub sender: String,
    /// The envelope's recipients, `<position>.<number>@d<n>.example.net`.
    pub recipients: Vec<String>,
    /// What stands between DATA and the final dot, before dot-stuffing. Empty, or whole lines.
    pub body: Vec<u8>,
}

/// Recipient domains of [`Mail::sample`].
const DOMAINS: u32 = 10;

impl Mail {
    /// A message with one recipient.
    pub fn new(number: u32, body: impl Into<Vec<u8>>) -> Self {
        Self {
            number,
            sender: format!("sender{number}@client.example.org"),
            recipients: vec![format!("0.{number}@d0.example.net")],
            body: body.into(),
        }
    }

    /// The message of that number: the same in every run.
    ///
    /// Of 2,000, five have 5 MB, twenty some 400 KB, two hundred up to 60 KB, forty nothing at
    /// all; every seventh has several recipients, in up to three domains.
    pub fn sample(number: u32) -> Self {
        let mut noise = Noise(u64::from(number) + 1);
        let size = match number {
            n if n % 400 == 7 => 5_000_000,
            n if n % 100 == 3 => 400_000 + noise.below(10_000),
            n if n % 10 == 1 => noise.below(60_000),
            n if n % 50 == 0 => 0,
            _ => noise.below(8_000),
        };
        let count = if number.is_multiple_of(7) { 2 + noise.below(4) as u32 } else { 1 };
        let recipient = |position: u32| {
            let domain = (number + position % 3) % DOMAINS;
            format!("{position}.{number}@d{domain}.example.net")
        };
        Self {
            sender: match number % 30 {
                0 => String::new(),
                _ => format!("sender{number}@client.example.org"),
            },
            recipients: (0..count).map(recipient).collect(),
            body: body(number, size, &mut noise),
            number,
        }
    }

    /// Whether the body holds bytes above 127.
    pub fn is_eight_bit(&self) -> bool {
        !self.body.is_ascii()
    }

    /// The body as it goes over the wire, the final dot included.
    pub fn stuffed(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.body.len() + 100);
        for line in self.body.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }
}

/// At least `size` bytes in lines of every kind.
fn body(number: u32, size: usize, noise: &mut Noise) -> Vec<u8> {
    let mut body = Vec::with_capacity(size + 1000);
    if size > 0 {
        body.extend_from_slice(format!("Subject: message {number}\r\n\r\n").as_bytes());
    }
    while body.len() < size {
        match noise.below(12) {
            0 => body.extend_from_slice(b"."),
            1 => body.extend_from_slice(b".."),
            2 => body.extend_from_slice(b".a line that starts with a dot"),
            3 => {}
            4 => {
                let length = noise.below(998);
                body.extend((0..length).map(|_| noise_byte(noise)));
            }
            5 => body.extend(std::iter::repeat_n(b'x', 998)),
            6 => body.extend_from_slice("Grüße aus Köln: 今日は".as_bytes()),
            _ => {
                let length = noise.below(78);
                body.extend((0..length).map(|_| b' ' + noise.below(95) as u8));
            }
        }
        body.extend_from_slice(b"\r\n");
    }
    body
}

/// Any byte a message may hold.
fn noise_byte(noise: &mut Noise) -> u8 {
    match noise.below(256) as u8 {
        b'\0' | b'\r' | b'\n' => b'-',
        byte => byte,
    }
}

/// xorshift64*: the same bytes in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}
