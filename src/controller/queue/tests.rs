use super::*;

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "acme".into(), name: name.into() }
}

struct Fixture {
    objects: Objects<u32>,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self { objects: Objects::default(), now: Instant::now() }
    }

    /// The objects that are listed, and their versions.
    fn list(&self, objects: &[(&str, u32)]) {
        self.objects.with(|queue| {
            queue.begin_list("");
            for (object, version) in objects {
                queue.apply(name(object), *version, Summary::default());
            }
            queue.end_list("");
        });
    }

    fn apply(&self, object: &str, version: u32) {
        self.objects.with(|queue| queue.apply(name(object), version, Summary::default()));
    }

    fn trigger(&self, object: &str) {
        self.objects.with(|queue| queue.trigger(&name(object)));
    }

    fn delete(&self, object: &str) {
        self.objects.with(|queue| queue.delete(&name(object)));
    }

    /// The next object, with its version, or with `deleted` or `unread`.
    fn next(&self) -> Option<String> {
        let work = self.objects.with(|queue| queue.next(self.now))?;
        let state = match work.state {
            State::Deleted => "deleted".to_owned(),
            State::Unread => "unread".to_owned(),
            State::Read(version) => version.to_string(),
        };
        Some(format!("{} {state}", work.name.name))
    }

    fn done(&self, object: &str, pause: Option<u64>) {
        let pause = pause.map(Duration::from_secs);
        self.objects.with(|queue| queue.done(&name(object), self.now, pause));
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn reconciles_each_object_of_a_list_once() {
    let fixture = Fixture::new();
    // Watches of what belongs to the objects are listed first.
    fixture.trigger("a");
    assert_eq!(fixture.next(), None, "the list will contain it");
    fixture.list(&[("a", 1), ("b", 1)]);
    assert_eq!(fixture.next().as_deref(), Some("a 1"));
    assert_eq!(fixture.next().as_deref(), Some("b 1"));
    assert_eq!(fixture.next(), None);
    fixture.done("a", None);
    fixture.done("b", None);
    assert_eq!(fixture.next(), None);
}

#[test]
fn reconciles_the_last_version_once_more_if_it_has_changed_meanwhile() {
    let fixture = Fixture::new();
    fixture.list(&[("a", 1)]);
    fixture.apply("a", 2);
    assert_eq!(fixture.next().as_deref(), Some("a 2"));
    fixture.apply("a", 3);
    fixture.apply("a", 4);
    fixture.trigger("a");
    assert_eq!(fixture.next(), None, "not twice at the same time");
    fixture.done("a", None);
    assert_eq!(fixture.next().as_deref(), Some("a 4"));
    fixture.done("a", None);
    assert_eq!(fixture.next(), None);
}

#[test]
fn retains_an_object_only_while_it_is_needed() {
    let mut fixture = Fixture::new();
    fixture.list(&[("a", 1), ("b", 1)]);
    for _ in 0..2 {
        fixture.next();
    }
    fixture.done("a", Some(10));
    fixture.done("b", Some(1800));
    assert_eq!(fixture.objects.with(|queue| queue.retained), 1);
    fixture.wait(9);
    assert_eq!(fixture.next(), None);
    fixture.wait(1);
    assert_eq!(fixture.next().as_deref(), Some("a 1"));
    fixture.done("a", None);
    fixture.wait(1790);
    assert_eq!(fixture.next().as_deref(), Some("b unread"));
    fixture.done("b", None);
    fixture.trigger("a");
    assert_eq!(fixture.next().as_deref(), Some("a unread"));
    assert_eq!(fixture.objects.with(|queue| queue.retained), 0);
}

#[test]
fn retains_few_objects_while_many_wait() {
    let fixture = Fixture::new();
    fixture.objects.with(|queue| {
        queue.begin_list("");
        for number in 0..2 * MAX_RETAINED {
            queue.apply(name(&format!("{number:05}")), 1, Summary::default());
        }
        queue.end_list("");
        assert_eq!(queue.retained, MAX_RETAINED);
    });
    let all: Vec<_> = std::iter::from_fn(|| fixture.next()).collect();
    assert_eq!(all.len(), 2 * MAX_RETAINED);
    assert_eq!(all.iter().filter(|it| it.ends_with(" 1")).count(), MAX_RETAINED);
}

#[test]
fn a_change_ends_a_pause() {
    let mut fixture = Fixture::new();
    fixture.list(&[("a", 1)]);
    fixture.next();
    fixture.done("a", Some(10));
    fixture.trigger("a");
    assert_eq!(fixture.next().as_deref(), Some("a 1"));
    fixture.done("a", None);
    fixture.wait(20);
    assert_eq!(fixture.next(), None, "the pause has ended once");
}

#[test]
fn a_deleted_object_is_reported_and_forgotten() {
    let fixture = Fixture::new();
    fixture.list(&[("a", 1), ("b", 1), ("c", 1)]);
    for _ in 0..3 {
        fixture.next();
    }
    fixture.delete("a");
    for object in ["a", "b", "c"] {
        fixture.done(object, Some(10));
    }
    assert_eq!(fixture.next().as_deref(), Some("a deleted"));
    fixture.done("a", None);
    // Deleted while the watch was interrupted.
    fixture.list(&[("c", 2)]);
    assert_eq!(fixture.next().as_deref(), Some("c 2"));
    assert_eq!(fixture.next().as_deref(), Some("b deleted"));
    // Re-created before that was handled.
    fixture.apply("b", 2);
    fixture.done("b", None);
    assert_eq!(fixture.next().as_deref(), Some("b 2"));
    // Something that belongs to an object that there is not.
    fixture.trigger("x");
    assert_eq!(fixture.next().as_deref(), Some("x deleted"));
    fixture.done("x", None);
    assert_eq!(fixture.objects.with(|queue| queue.slots.len()), 2);
}

#[test]
fn objects_are_found_by_what_they_refer_to() {
    let objects = Objects::default();
    let in_globex = ObjectName { namespace: "globex".into(), name: "a".into() };
    objects.with(|queue| {
        let to = |reference| Summary { refers_to: Some(reference), ..Summary::default() };
        let key = || to(Reference::secret("key"));
        queue.apply(name("a"), 1, key());
        queue.apply(name("b"), 1, to(Reference::UserPool("key".into())));
        queue.apply(name("c"), 1, key());
        queue.apply(in_globex.clone(), 1, key());
        queue.delete(&name("c"));
    });
    assert_eq!(objects.referrers("acme", &Reference::secret("key")), [name("a")]);
    let in_globex = [in_globex];
    assert_eq!(objects.referrers("globex", &Reference::secret("key")), in_globex);
    assert!(objects.has(&name("a"), |_, to| to == Some(&Reference::secret("key"))));
    assert!(!objects.has(&name("c"), |_, _| true));
    let [in_globex] = in_globex;
    assert_eq!(objects.find(|it| it.namespace == "globex"), Some(in_globex));
    assert_eq!(objects.find(|it| it.name == "c"), None);
}
