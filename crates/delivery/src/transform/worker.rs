//! The process in which a transform runs: it gives up what it does not need, reads a program and then events, and answers what becomes of each.

use std::io::{self, BufReader, Read, Write};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::program::{Outcome, Program};
use super::{EVENT, FAILED, LEFT_OUT};
use crate::shaping::KEPT;

/// Bytes of memory that it may take of its own.
const MEMORY: u64 = 256 << 20;
/// Time of a processor that one event may take; looked at between expressions.
const TIME: Duration = Duration::from_millis(100);
/// Bytes of an event that comes out at most.
const OUT: usize = 256 << 10;
/// Bytes of a part that is read.
const IN: usize = 8 << 20;

/// Beside what tells events apart: what a person agreed to, and what was kept from being captured, are not for a program to change.
const HELD: [&str; 2] = ["consent", "withheld"];

/// Works until its input ends.
///
/// # Errors
/// What cannot be limited, read or written.
pub fn work() -> io::Result<()> {
    limit()?;
    let (mut from, mut into) = (BufReader::new(io::stdin().lock()), io::stdout().lock());
    let source = String::from_utf8(part(&mut from)?).map_err(io::Error::other)?;
    let program = match Program::compile(&source) {
        Ok(program) => program,
        Err(problem) => {
            answer(&mut into, FAILED, problem.as_bytes())?;
            return into.flush();
        }
    };
    answer(&mut into, LEFT_OUT, &[])?;
    into.flush()?;
    loop {
        let mut many = [0; 4];
        match from.read_exact(&mut many) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let events = (0..u32::from_be_bytes(many)).map(|_| part(&mut from)).collect::<io::Result<Vec<_>>>()?;
        let mut answers = Vec::new();
        for event in events {
            match made(&program, &event) {
                Ok(Some(event)) => answer(&mut answers, EVENT, &event)?,
                Ok(None) => answer(&mut answers, LEFT_OUT, &[])?,
                Err(reason) => answer(&mut answers, FAILED, reason.as_bytes())?,
            }
        }
        into.write_all(&answers)?;
        into.flush()?;
    }
}

/// Nothing can be opened or written any more, and what others do comes first.
fn limit() -> io::Result<()> {
    let most = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Data, most(MEMORY))?;
    setrlimit(Resource::Core, most(0))?;
    setrlimit(Resource::Fsize, most(0))?;
    // Those of input, output and errors are open.
    setrlimit(Resource::Nofile, most(3))?;
    nice(10)?;
    Ok(())
}

fn made(program: &Program, event: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |_| "not of this version's form".to_owned();
    let before: Value = serde_json::from_slice(event).map_err(unreadable)?;
    let begun = clock_gettime(ClockId::ThreadCPUTime);
    let late = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let taken = (now.tv_sec - begun.tv_sec) * 1_000_000_000 + now.tv_nsec - begun.tv_nsec;
        u128::try_from(taken).is_ok_and(|taken| taken > TIME.as_nanos())
    };
    let mut after = match program.run(&before, late) {
        Outcome::Event(Value::Object(fields)) => fields,
        Outcome::Event(_) => return Err("the transform left no object of the event".to_owned()),
        Outcome::LeftOut => return Ok(None),
        Outcome::Late => return Err(format!("the transform took more than {} ms of a processor", TIME.as_millis())),
        Outcome::Failed(reason) => return Err(reason),
    };
    for field in KEPT.into_iter().chain(HELD) {
        match before.get(field) {
            Some(value) => after.insert(field.to_owned(), value.clone()),
            None => after.shift_remove(field),
        };
    }
    let out = Value::Object(after).to_string().into_bytes();
    if out.len() > OUT {
        return Err(format!("the transform made an event of {} bytes, and {OUT} are the most", out.len()));
    }
    Ok(Some(out))
}

fn part(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > IN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn answer(into: &mut impl Write, kind: u8, bytes: &[u8]) -> io::Result<()> {
    into.write_all(&[kind])?;
    into.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes())?;
    into.write_all(bytes)
}
