//! Sorting in little code: the library's has some 4 KiB for each type that it sorts, and the binary is to
//! stay small. What is sorted here is short: ids, rules of a profile, lists in files. Stable.

/// Sorts; equal items keep their order.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, |a, b| a < b);
}

/// Sorts so that no item follows one that it is `before`; other items keep their order.
pub fn sort_by<T>(items: &mut [T], before: impl Fn(&T, &T) -> bool) {
    let order = merged(items.len(), &|a, b| match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => before(a, b),
        _ => false,
    });
    for place in 0..items.len() {
        let mut from = order[place];
        // It was swapped away from there when an earlier place got its own.
        while from < place {
            from = order[from];
        }
        items.swap(place, from);
    }
}

/// The indices below `count` in order: a merge sort, from runs of one on.
fn merged(count: usize, before: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut next = Vec::with_capacity(count);
    let mut run = 1;
    while run < count {
        next.clear();
        for two in order.chunks(2 * run) {
            let (mut left, mut right) = two.split_at(run.min(two.len()));
            while let (Some(a), Some(b)) = (left.first(), right.first()) {
                let side = if before(*b, *a) { &mut right } else { &mut left };
                next.push(side[0]);
                *side = &side[1..];
            }
            next.extend_from_slice(left);
            next.extend_from_slice(right);
        }
        std::mem::swap(&mut order, &mut next);
        run *= 2;
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_library_does(mut items in prop::collection::vec((0u8..20, any::<u16>()), 0..200)) {
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            super::sort_by(&mut items, |a, b| a.0 < b.0);
            prop_assert_eq!(&items, &expected);
            expected.sort();
            super::sort(&mut items);
            prop_assert_eq!(&items, &expected);
        }
    }
}
