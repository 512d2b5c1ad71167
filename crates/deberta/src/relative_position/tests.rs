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

fn pattern(shape: &[i64], step: f64) -> Tensor {
    let flat = Tensor::f_arange(shape.iter().product::<i64>(), (tch::Kind::Float, tch::Device::Cpu)).unwrap();
    flat.f_mul_scalar(step).unwrap().f_sin().unwrap().f_view(shape).unwrap()
}

/// Every term read off by its slot, one pair of tokens at a time.
fn gathered(content: &Tensor, by_slot: &Tensor, shape: Shape, of_key: bool) -> Tensor {
    let Shape { rows, heads, length, .. } = shape;
    let pairs = (0..length * length).map(|pair| {
        let (query, key) = (pair / length, pair % length);
        (if of_key { key } else { query }) * 512 + slot(&PUBLISHED, query - key)
    });
    let pairs = Tensor::f_from_slice(&pairs.collect::<Vec<_>>()).unwrap();
    let slots = by_slot.f_unsqueeze(1).unwrap();
    let all = content.f_matmul(&slots).unwrap().f_reshape([heads, rows, -1]).unwrap();
    let terms = all.f_index_select(2, &pairs).unwrap().f_view([heads, rows, length, length]).unwrap();
    terms.f_transpose(0, 1).unwrap()
}

#[test]
fn skewed_products_equal_a_gather_by_slot() {
    for (rows, length) in [(1, 1), (3, 5), (2, 192), (2, 257), (1, 300), (1, 520)] {
        let diagonals = Diagonals::reaching(&PUBLISHED, length, tch::Device::Cpu).unwrap();
        let shape = Shape { rows, heads: 2, length, reach: diagonals.reach };
        let (keys_by_slot, queries_by_slot) = (pattern(&[2, 4, 512], 0.7), pattern(&[2, 4, 512], 1.3));
        let (queries, keys) = (pattern(&[2, rows, length, 4], 0.3), pattern(&[2, rows, length, 4], 1.1));
        let by_query = gathered(&queries, &keys_by_slot, shape, false);
        let by_key = gathered(&keys, &queries_by_slot, shape, true);
        let both = by_query.f_add(&by_key).unwrap();
        for (with_keys, with_queries, expected) in
            [(true, true, &both), (true, false, &by_query), (false, true, &by_key)]
        {
            let keys_table = with_keys.then(|| keys_by_slot.f_view_as(&keys_by_slot).unwrap());
            let queries_table = with_queries.then(|| queries_by_slot.f_view_as(&queries_by_slot).unwrap());
            let tables = PositionTables::new(keys_table, queries_table, &diagonals).unwrap();
            let difference = |found: Tensor, expected: &Tensor| {
                let largest = found.f_sub(expected).unwrap().f_abs().unwrap().f_max().unwrap();
                largest.f_double_value(&[]).unwrap()
            };
            let found = tables.scores(&queries, &keys, shape).unwrap().unwrap();
            let largest = difference(found, expected);
            assert!(largest < 1e-5, "{rows} rows of {length}: {largest}");
            let first = queries.f_transpose(0, 1).unwrap().f_narrow(2, 0, 1).unwrap();
            let found = tables.first_scores(&first, &keys.f_transpose(0, 1).unwrap(), shape).unwrap().unwrap();
            let largest = difference(found, &expected.f_narrow(2, 0, 1).unwrap());
            assert!(largest < 1e-5, "first of {rows} rows of {length}: {largest}");
        }
    }
}

#[test]
fn no_position_terms_are_no_scores() {
    let diagonals = Diagonals::reaching(&PUBLISHED, 4, tch::Device::Cpu).unwrap();
    let tables = PositionTables::new(None, None, &diagonals).unwrap();
    let content = pattern(&[2, 1, 4, 4], 0.3);
    let shape = Shape { rows: 1, heads: 2, length: 4, reach: diagonals.reach };
    assert!(tables.scores(&content, &content, shape).unwrap().is_none());
}
