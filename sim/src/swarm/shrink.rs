//! Makes a failing world small: whatever can be left out without the failure going away is.

use super::node::Node;
use super::{Fall, Times, read_and_run};
use crate::oracle::Law;
use crate::runner::FailureKind;

/// What an event says that brings another configuration.
const RELOAD: &str = "what = \"reload\"";

/// A world that still fails, and could not be made smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Its text.
    pub text: String,
    /// How it fails.
    pub fall: Fall,
    /// Worlds that were tried.
    pub tries: usize,
}

/// Tries worlds with less and less in them as long as they break the same law, `tries_max` at most.
pub fn shrink(nodes: &[Node], fall: &Fall, tries_max: usize) -> Shrunk {
    let times = match fall.law == Law::Determinism.name() {
        true => Times::Twice,
        false => Times::Once,
    };
    // Mail that is stopped may go on with the configuration that follows: without it any such world
    // would be left with mail.
    let reloads = |text: &str| text.matches(RELOAD).count();
    let kept = match fall.kind {
        FailureKind::Stuck => reloads(&Node::text(nodes)),
        _ => 0,
    };
    let mut last = fall.clone();
    let (nodes, tries) = shrink_while(nodes, tries_max, |text| {
        if reloads(text) < kept {
            return false;
        }
        match read_and_run(text, times) {
            Ok(Err(fall)) if fall.law == last.law => {
                last = fall;
                true
            }
            // It lives, it fails otherwise, or it is no scenario any more.
            Ok(_) | Err(_) => false,
        }
    });
    Shrunk { text: Node::text(&nodes), fall: last, tries }
}

/// Leaves out what can be left out as long as `still` says so of the text, and how many texts that
/// took, `tries_max` at most.
pub(super) fn shrink_while(
    nodes: &[Node],
    tries_max: usize,
    still: impl FnMut(&str) -> bool,
) -> (Vec<Node>, usize) {
    let mut shrinker = Shrinker { nodes: nodes.to_vec(), still, tries: 0, tries_max };
    while shrinker.pass() {}
    (shrinker.nodes, shrinker.tries)
}

struct Shrinker<F> {
    nodes: Vec<Node>,
    still: F,
    tries: usize,
    tries_max: usize,
}

impl<F: FnMut(&str) -> bool> Shrinker<F> {
    /// Tries each piece once. Whether anything could be left out.
    fn pass(&mut self) -> bool {
        let before = Node::text(&self.nodes).len();
        let mut path = vec![0];
        while let Some(node) = at(&self.nodes, &path) {
            let removed = self.attempt(|nodes| remove(nodes, &path));
            if removed {
                // The next piece has taken its place.
                if at(&self.nodes, &path).is_none() {
                    self.leave(&mut path);
                }
                continue;
            }
            if let Node::Lines(lines) = &node {
                for fewer in smaller(lines) {
                    if self.attempt(|nodes| replace(nodes, &path, Node::Lines(fewer.clone()))) {
                        break;
                    }
                }
            }
            match node {
                Node::Block { children, .. } if !children.is_empty() => path.push(0),
                _ => self.step(&mut path),
            }
        }
        Node::text(&self.nodes).len() < before && self.tries < self.tries_max
    }

    fn step(&self, path: &mut Vec<usize>) {
        if let Some(last) = path.last_mut() {
            *last += 1;
        }
        if at(&self.nodes, path).is_none() {
            self.leave(path);
        }
    }

    /// Goes on behind the block whose end was reached.
    fn leave(&self, path: &mut Vec<usize>) {
        while at(&self.nodes, path).is_none() && path.len() > 1 {
            path.pop();
            if let Some(last) = path.last_mut() {
                *last += 1;
            }
        }
    }

    /// Keeps a change if the world then still fails in the same way.
    fn attempt(&mut self, change: impl Fn(&mut Vec<Node>)) -> bool {
        if self.tries >= self.tries_max {
            return false;
        }
        self.tries += 1;
        let mut nodes = self.nodes.clone();
        change(&mut nodes);
        let kept = (self.still)(&Node::text(&nodes));
        if kept {
            self.nodes = nodes;
        }
        kept
    }
}

fn at(nodes: &[Node], path: &[usize]) -> Option<Node> {
    let (first, rest) = path.split_first()?;
    let node = nodes.get(*first)?;
    match (rest, node) {
        ([], node) => Some(node.clone()),
        (rest, Node::Block { children, .. }) => at(children, rest),
        (_, Node::Lines(_)) => None,
    }
}

/// The pieces around a place, and its position among them.
fn around<'a>(nodes: &'a mut Vec<Node>, path: &[usize]) -> Option<(&'a mut Vec<Node>, usize)> {
    match path {
        [] => None,
        [last] => Some((nodes, *last)),
        [first, rest @ ..] => match nodes.get_mut(*first)? {
            Node::Block { children, .. } => around(children, rest),
            Node::Lines(_) => None,
        },
    }
}

fn remove(nodes: &mut Vec<Node>, path: &[usize]) {
    if let Some((nodes, place)) = around(nodes, path) {
        nodes.remove(place);
    }
}

fn replace(nodes: &mut Vec<Node>, path: &[usize], node: Node) {
    if let Some((nodes, place)) = around(nodes, path) {
        nodes[place] = node;
    }
}

/// The same lines with a smaller number of messages, the smallest first.
fn smaller(lines: &str) -> Vec<String> {
    let Some(count) = lines.strip_prefix("messages = ") else { return Vec::new() };
    let Ok(count) = count.trim().parse::<u64>() else { return Vec::new() };
    let fewer = [1, 2, 3, 5, 10, count / 2].into_iter().filter(|fewer| (1..count).contains(fewer));
    fewer.map(|fewer| format!("messages = {fewer}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Node {
        Node::Lines(text.to_owned())
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        // The mail is held for ever, so the world does not drain.
        let config = Node::Block {
            open: "config_text = '''\n".into(),
            children: vec![
                lines("retry_interval = 77\n"),
                Node::Block {
                    open: "domain \"held.example\" {\n".into(),
                    children: vec![lines("idle_timeout = 9\n"), lines("suspend_delivery = true\n")],
                    close: "}\n".into(),
                },
                lines("body_timeout = 10\n"),
            ],
            close: "'''\n".into(),
        };
        let traffic = Node::Block {
            open: "[[traffic]]\nfrom = \"a@b.example\"\nto = \"held.example\"\n".into(),
            children: vec![lines("messages = 40\n"), lines("size = \"3KB\"\n")],
            close: String::new(),
        };
        let receiver = Node::Block {
            open: "[[receiver]]\nname = \"r\"\ndomains = [\"held.example\"]\n".into(),
            children: vec![lines("latency = \"3ms\"\n"), lines("[receiver.greylist]\n")],
            close: String::new(),
        };
        let nodes = [lines("title = \"t\"\nhorizon = \"1d\"\n"), config, traffic, receiver];
        let Ok(Err(fall)) = read_and_run(&Node::text(&nodes), Times::Once) else {
            panic!("it is to fail")
        };
        assert_eq!((fall.kind, &*fall.law), (FailureKind::Stuck, "drain"));
        let shrunk = shrink(&nodes, &fall, 100);
        insta::assert_snapshot!(shrunk.text, @r#"
        title = "t"
        horizon = "1d"
        config_text = '''
        domain "held.example" {
        suspend_delivery = true
        }
        '''
        [[traffic]]
        from = "a@b.example"
        to = "held.example"
        messages = 1
        [[receiver]]
        name = "r"
        domains = ["held.example"]
        "#);
        assert!(shrunk.tries < 40, "{}", shrunk.tries);
    }
    #[test]
    fn what_might_have_let_mail_go_on_stays() {
        let stops = |open: &str| Node::Block {
            open: format!("{open}config_text = '''\n"),
            children: vec![lines("suspend_delivery = true\n"), lines("idle_timeout = 9\n")],
            close: "'''\n".into(),
        };
        let mail = "[[traffic]]\nfrom = \"a@b.example\"\nto = \"x.example\"\nmessages = 1\n\
                    [[receiver]]\nname = \"r\"\ndomains = [\"x.example\"]\n";
        let nodes = [
            lines("title = \"t\"\nhorizon = \"1d\"\n"),
            stops(""),
            lines(mail),
            stops("[[event]]\nat = \"5m\"\nwhat = \"reload\"\n"),
        ];
        let Ok(Err(fall)) = read_and_run(&Node::text(&nodes), Times::Once) else {
            panic!("it is to fail")
        };
        let shrunk = shrink(&nodes, &fall, 100);
        insta::assert_snapshot!(shrunk.text, @r#"
        title = "t"
        horizon = "1d"
        config_text = '''
        suspend_delivery = true
        '''
        [[traffic]]
        from = "a@b.example"
        to = "x.example"
        messages = 1
        [[receiver]]
        name = "r"
        domains = ["x.example"]
        [[event]]
        at = "5m"
        what = "reload"
        config_text = '''
        suspend_delivery = true
        '''
        "#);
    }
}
