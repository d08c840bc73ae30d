//! The names of the objects that were listed or reported by a watch, in little memory: there may be
//! a hundred thousand.

use std::collections::HashMap;

use crate::domain::ids::ObjectName;

/// Names, each with the number of the last list that contained it.
#[derive(Debug, Default)]
pub struct Known {
    namespaces: HashMap<Box<str>, HashMap<Box<str>, u32>>,
    list: u32,
}

impl Known {
    /// A list begins.
    pub fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// Records an object.
    pub fn insert(&mut self, object: &ObjectName) {
        if !self.namespaces.contains_key(&*object.namespace) {
            self.namespaces.insert(object.namespace.as_str().into(), HashMap::new());
        }
        let Some(names) = self.namespaces.get_mut(&*object.namespace) else { return };
        match names.get_mut(&*object.name) {
            Some(list) => *list = self.list,
            None => drop(names.insert(object.name.as_str().into(), self.list)),
        }
    }

    /// Drops an object that was deleted.
    pub fn remove(&mut self, object: &ObjectName) {
        let Some(names) = self.namespaces.get_mut(&*object.namespace) else { return };
        names.remove(&*object.name);
        if names.is_empty() {
            self.namespaces.remove(&*object.namespace);
        }
    }

    /// The objects that were not recorded since the list began, which must be complete.
    pub fn vanished(&self) -> Vec<ObjectName> {
        let mut vanished = Vec::new();
        for (namespace, names) in &self.namespaces {
            for (name, list) in names {
                if *list != self.list {
                    let (namespace, name) = (String::from(&**namespace), String::from(&**name));
                    vanished.push(ObjectName { namespace, name });
                }
            }
        }
        vanished
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.namespaces.values().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespace: &str, name: &str) -> ObjectName {
        ObjectName { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn a_list_shows_what_was_deleted() {
        let mut known = Known::default();
        known.begin_list();
        for object in [name("a", "x"), name("a", "y"), name("b", "x"), name("b", "x")] {
            known.insert(&object);
        }
        assert_eq!((known.vanished(), known.len()), (vec![], 3));
        known.remove(&name("a", "y"));
        known.remove(&name("a", "y"));
        known.begin_list();
        known.insert(&name("a", "x"));
        assert_eq!(known.vanished(), [name("b", "x")]);
        known.remove(&name("b", "x"));
        assert_eq!((known.vanished(), known.len()), (vec![], 1));
        known.remove(&name("a", "x"));
        assert!(known.namespaces.is_empty());
    }
}
