//! Worker threads for password hashing: few, each with scratch memory that it keeps. On tokio's
//! blocking threads, which allocate and free that memory for each hash, 300 logins left 645 MB
//! behind.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::password::Scratch;

type Job = Box<dyn FnOnce(&mut Scratch) + Send>;

/// Runs jobs on its own threads, which end when it is dropped.
pub struct HashWorkers(mpsc::Sender<Job>);

impl HashWorkers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system cannot start a thread.
    #[expect(clippy::disallowed_methods, reason = "the one place that starts threads")]
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

    /// Runs a job once a thread is free. `None` if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, result) = oneshot::channel();
        // The caller may have given up in the meantime.
        let job = move |scratch: &mut Scratch| drop(reply.send(job(scratch)));
        self.0.send(Box::new(job)).ok()?;
        result.await.ok()
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    let mut scratch = Scratch::default();
    loop {
        // The lock is not held while the job runs.
        let next = jobs.lock().recv();
        let Ok(job) = next else { return };
        // A job that panics must not end the thread.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut scratch)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_ends_alone() {
        let workers = HashWorkers::start(1).unwrap();
        assert_eq!(workers.run(|_| panic!("as tests may")).await, None::<()>);
        assert_eq!(workers.run(|_| 7).await, Some(7));
    }
}
