//! `traject classify`: which class of failure a reply is.

use std::io::{self, BufRead as _, Write as _};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use traject_engine::bounce::{self, BounceClass, Reason};
use traject_engine::smtp::reply::Reply;
use traject_engine::smtp::stage::Stage;

use crate::error::{CommandError, ErrorKind};
use crate::explain::print_columns;

/// Say which class of failure a reply is, and which rule says so
///
/// Records of failed attempts bear the class. It is found by the words of the reply, else by its
/// enhanced status code, else by its code and the stage of the dialogue.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject classify '550 5.1.1 No such user'
  traject classify --stage mail '421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred'
  grep -o '5[0-9][0-9] .*' mail.log | traject classify -      a reply a line")]
pub(crate) struct Args {
    /// Replies, each with its code; `-` reads one from each line of standard input
    #[arg(value_name = "REPLY", required = true)]
    replies: Vec<String>,

    /// What the reply was to
    #[arg(long, value_name = "STAGE", default_value = "rcpt")]
    stage: StageName,

    /// Print an array of JSON objects
    #[arg(long)]
    json: bool,
}

/// Where in the dialogue a reply can come.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StageName {
    Banner,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Body,
}

impl StageName {
    const fn stage(self) -> Stage {
        match self {
            Self::Banner => Stage::Banner,
            Self::Ehlo => Stage::Ehlo,
            Self::Mail => Stage::MailFrom,
            Self::Rcpt => Stage::RcptTo,
            Self::Data => Stage::Data,
            Self::Body => Stage::BodyReply,
        }
    }
}

/// A reply and what it is.
#[derive(Serialize)]
struct Answer {
    reply: String,
    class: BounceClass,
    number: u8,
    kind: &'static str,
    because: String,
}

impl Answer {
    fn new(stage: Stage, reply: &Reply) -> Self {
        let found = bounce::classify(stage, reply);
        let because = match found.reason {
            Reason::Rule(rule) => format!("it says \"{}\"", rule.words),
            Reason::EnhancedCode => "of its enhanced status code".to_owned(),
            Reason::Code => "of its code and stage".to_owned(),
        };
        Self {
            reply: reply.to_string(),
            class: found.class,
            number: found.class.number(),
            kind: found.class.kind().text(),
            because,
        }
    }

    fn row(&self) -> [String; 4] {
        let class = format!("{} {}", self.number, self.class.text());
        [class, self.kind.to_owned(), format!("because {}", self.because), self.reply.clone()]
    }
}

/// Prints the class of each reply.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let mut answers = Vec::new();
    for line in lines(args).map_err(|error| CommandError::new(ErrorKind::System, error))? {
        let reply = Reply::parse(&line, false).ok_or_else(|| {
            let message = anyhow!("`{line}` is no reply: it does not begin with three digits");
            CommandError::new(ErrorKind::System, message)
        })?;
        answers.push(Answer::new(args.stage.stage(), &reply));
    }
    print(args, &answers).map_err(|error| CommandError::new(ErrorKind::System, error))
}

fn lines(args: &Args) -> anyhow::Result<Vec<String>> {
    match &args.replies[..] {
        [one] if one == "-" => {
            let lines: Result<Vec<_>, _> = io::stdin().lock().lines().collect();
            lines.context("cannot read standard input")
        }
        replies => Ok(replies.to_vec()),
    }
}

fn print(args: &Args, answers: &[Answer]) -> anyhow::Result<()> {
    if args.json {
        let json = serde_json::to_string_pretty(answers)? + "\n";
        return Ok(io::stdout().lock().write_all(json.as_bytes())?);
    }
    print_columns(&answers.iter().map(Answer::row).collect::<Vec<_>>())?;
    Ok(())
}
