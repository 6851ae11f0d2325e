//! The text of a world in pieces that can be left out.

/// A piece of a scenario's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Some lines that belong together.
    Lines(String),
    /// Pieces between two others, without which they make no sense.
    Block {
        /// What stands before them.
        open: String,
        /// The pieces.
        children: Vec<Self>,
        /// What stands after them.
        close: String,
    },
}

impl Node {
    /// The text of all pieces.
    pub fn text(nodes: &[Self]) -> String {
        let mut text = String::new();
        for node in nodes {
            node.write(&mut text);
        }
        text
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Lines(lines) => text.push_str(lines),
            Self::Block { open, children, close } => {
                text.push_str(open);
                for child in children {
                    child.write(text);
                }
                text.push_str(close);
            }
        }
    }
}
