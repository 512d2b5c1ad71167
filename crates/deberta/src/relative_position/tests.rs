//! The slots of the published geometry, pinned, and the columns of the tables.

use super::*;

const PUBLISHED: Relative = Relative { span: 256, buckets: 256, max_distance: 512, shared: true };

#[test]
fn the_slots_of_the_published_geometry_are_pinned() {
    // Read off the reference's own function.
    let pinned = [
        (-600, 0),
        (-512, 0),
        (-511, 1),
        (-400, 23),
        (-300, 49),
        (-256, 64),
        (-200, 87),
        (-133, 124),
        (-132, 125),
        (0, 256),
        (1, 257),
        (128, 384),
        (131, 387),
        (132, 387),
        (133, 388),
        (150, 399),
        (200, 425),
        (256, 448),
        (333, 472),
        (450, 500),
        (505, 510),
        (506, 511),
        (511, 511),
        (512, 511),
        (1000, 511),
    ];
    for (distance, expected) in pinned {
        assert_eq!(slot(&PUBLISHED, distance), expected, "distance {distance}");
    }
}

#[test]
fn near_distances_have_a_slot_each_and_far_ones_share() {
    for distance in -131..=131 {
        assert_eq!(slot(&PUBLISHED, distance), 256 + distance);
    }
    for distance in 0..5000 {
        let (ahead, behind) = (slot(&PUBLISHED, distance), slot(&PUBLISHED, -distance));
        assert!(ahead >= slot(&PUBLISHED, distance - 1), "distance {distance}");
        assert!(ahead == 512 - behind || (ahead, behind) == (511, 0), "distance {distance}");
    }
    assert_eq!((slot(&PUBLISHED, 511), slot(&PUBLISHED, 512), slot(&PUBLISHED, -512)), (511, 511, 0));
}

#[test]
fn without_buckets_distances_are_cut_at_the_span() {
    let plain = Relative { span: 40, buckets: -1, max_distance: 40, shared: false };
    let slots: Vec<_> = [-1000, -41, -40, -1, 0, 39, 40, 1000].map(|distance| slot(&plain, distance)).into();
    assert_eq!(slots, [0, 0, 0, 39, 40, 79, 79, 79]);
}

#[test]
fn a_columns_slot_is_that_of_its_distance() {
    let diagonals = Diagonals::reaching(&PUBLISHED, 300, tch::Device::Cpu).unwrap();
    assert_eq!(diagonals.reach, 512);
    for (column, distance) in [(0i64, 511), (511, 0), (1022, -511)] {
        assert_eq!(diagonals.descending.f_int64_value(&[column]).unwrap(), slot(&PUBLISHED, distance));
        assert_eq!(diagonals.ascending.f_int64_value(&[1022 - column]).unwrap(), slot(&PUBLISHED, distance));
    }
}
