//! The threads that hash passwords: few, and each with memory that it keeps. On the threads of
//! tokio's pool, with memory that came and went, 300 logins left 645 MB behind.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::password::Scratch;

type Job = Box<dyn FnOnce(&mut Scratch) + Send>;

/// Runs jobs on threads of its own. They end when it is dropped.
pub struct Hashers(mpsc::Sender<Job>);

impl Hashers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(count: usize) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..count {
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new().name(format!("hash-{number}"));
            thread.spawn(move || work(&jobs))?;
        }
        Ok(Self(sender))
    }

    /// Runs a job once a thread is free. `None` if it did not come to an end.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, result) = oneshot::channel();
        // Who asked may have gone meanwhile.
        let job = move |scratch: &mut Scratch| drop(reply.send(job(scratch)));
        self.0.send(Box::new(job)).ok()?;
        result.await.ok()
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    let mut scratch = Scratch::default();
    loop {
        // Not held while the job runs.
        let next = jobs.lock().recv();
        let Ok(job) = next else { return };
        // One job that fails is not the end of all others.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut scratch)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_ends_alone() {
        let hashers = Hashers::start(1).unwrap();
        assert_eq!(hashers.run(|_| panic!("as tests may")).await, None::<()>);
        assert_eq!(hashers.run(|_| 7).await, Some(7));
    }
}
