//! What other people do in the middle of a sync, on request: fields that vanish, rows that come and go
//! between two calls. See [`super::faults`].

use super::faults::{Action, Fired, Kind};
use super::state::AppState;
use super::store::{Stamp, Store};
use super::value::Id;

/// Carries out what the rules that fired change in the data, in every organisation.
pub fn meddle(app: &AppState, fired: &Fired) {
    for kind in [Kind::RemoveField, Kind::DeleteRows, Kind::TouchRows] {
        let Some(action) = fired.get(kind) else { continue };
        let Some(module) = &action.module else { continue };
        for org in &app.orgs {
            let mut store = org.write();
            if let Some(at) = store.schema.position(module) {
                let user = store.users[0].id;
                carry_out(&mut store, at, action, Stamp { now: app.clock.now(), user });
            }
        }
    }
}

fn carry_out(store: &mut Store, at: usize, action: &Action, stamp: Stamp) {
    let rows = action.rows.unwrap_or(1);
    match (action.kind, &action.field) {
        (Kind::RemoveField, Some(field)) => {
            store.schema.modules[at].remove_field(field);
        }
        (Kind::DeleteRows, _) => {
            for id in ids(store, at, 1).take(rows).collect::<Vec<_>>() {
                store.delete(at, id, stamp);
            }
        }
        (Kind::TouchRows, _) => {
            let every = (store.view_at(at).rows().count() / rows.max(1)).max(1);
            for id in ids(store, at, every).collect::<Vec<_>>() {
                store.update(at, id, Vec::new(), stamp);
            }
        }
        _ => {}
    }
}

/// Every so-many-th id of a module, oldest first.
fn ids(store: &Store, at: usize, every: usize) -> impl Iterator<Item = Id> {
    store.view_at(at).rows().map(|row| row.id).step_by(every)
}
