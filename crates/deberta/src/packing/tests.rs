//! Where rows lie, with and without padding.

use super::*;

#[test]
fn equal_lengths_lie_together_and_the_order_is_kept_among_them() {
    let packing = Packing::new(&[3, 5, 3, 1], &[], 2, Granularity::Exact);
    assert_eq!(packing.order, [3, 0, 2, 1]);
    assert_eq!(packing.first_tokens, [0, 1, 4, 7]);
    let shapes: Vec<_> = packing.groups.iter().map(|group| (group.rows, group.length)).collect();
    assert_eq!(shapes, [(1, 1), (2, 3), (1, 5)]);
    assert_eq!(
        packing.groups[1],
        Group { first_row: 1, first_token: 1, rows: 2, length: 3, is_padded: false, adapter: None }
    );
    assert_eq!(packing.tokens_of(2, 3), 4..7);
    assert_eq!((packing.longest, packing.padded_tokens), (5, 12));
}

#[test]
fn rows_of_one_length_and_adapter_lie_together() {
    let adapters = [Some(1), None, Some(0), None, Some(1)];
    let packing = Packing::new(&[3, 3, 3, 5, 3], &adapters, 2, Granularity::Exact);
    assert_eq!(packing.order, [1, 2, 0, 4, 3]);
    let groups: Vec<_> = packing.groups.iter().map(|group| (group.rows, group.length, group.adapter)).collect();
    assert_eq!(groups, [(1, 3, None), (1, 3, Some(0)), (2, 3, Some(1)), (1, 5, None)]);
}

#[test]
fn a_group_never_outgrows_its_share_of_memory() {
    let packing = Packing::new(&[512; 7], &[], 12, Granularity::Exact);
    assert!(packing.groups.iter().all(|group| group.rows == 2 || group.first_row == 6), "{packing:?}");
    assert_eq!(packing.groups.iter().map(|group| group.rows).sum::<i64>(), 7);
    assert_eq!(Packing::new(&[4096; 2], &[], 64, Granularity::Exact).groups.len(), 2);
}

#[test]
fn few_counts_of_rows_occur() {
    assert_eq!([1, 64, 65, 256, 257, 1_025].map(padded), [1, 64, 72, 256, 288, 1_088]);
    let counts: std::collections::BTreeSet<i64> = (1..4_096).map(padded).collect();
    assert_eq!(counts.len(), 160);
}

#[test]
fn parts_are_joined_and_filled_up() {
    let rows = |from: i64, count: i64| {
        let flat = Tensor::f_arange_start(from, from + 2 * count, (tch::Kind::Float, tch::Device::Cpu));
        flat.unwrap().f_view([count, 2]).unwrap()
    };
    let joined = Packing::join(vec![rows(0, 1), rows(10, 2)], &rows(50, 5)).unwrap();
    let mut numbers = vec![0f32; 10];
    joined.f_copy_data(&mut numbers, 10).unwrap();
    assert_eq!(numbers, [0.0, 1.0, 10.0, 11.0, 12.0, 13.0, 50.0, 51.0, 52.0, 53.0]);
    assert_eq!(Packing::join(vec![rows(0, 3)], &rows(9, 3)).unwrap().size2().unwrap(), (3, 2));
}

#[test]
fn no_rows_are_no_groups() {
    let packing = Packing::new(&[], &[], 4, Granularity::Exact);
    assert_eq!((packing.groups.len(), packing.longest), (0, 0));
}

#[test]
fn padding_is_what_no_row_has_a_token_for() {
    let packing = Packing::new(&[20, 3], &[], 2, Granularity::Tiles);
    assert_eq!((packing.order.clone(), packing.padded_tokens), (vec![1, 0], 64));
    assert_eq!(
        packing.groups,
        [Group { first_row: 0, first_token: 0, rows: 2, length: 32, is_padded: true, adapter: None }]
    );
    assert_eq!(packing.lay_out(0, |row| std::iter::repeat_n(row + 7, 2))[..34], {
        let mut expected = [0; 34];
        expected[..2].fill(8);
        expected[32..].fill(7);
        expected
    });
    let padding = packing.padding().unwrap();
    for (token, added) in padding.into_iter().enumerate() {
        let is_token = token < 3 || (32..52).contains(&token);
        assert_eq!(added, if is_token { 0.0 } else { f32::NEG_INFINITY }, "{token}");
    }
    assert_eq!(Packing::new(&[16, 16], &[], 2, Granularity::Tiles).padding(), None);
    assert_eq!(Packing::new(&[3, 5], &[], 2, Granularity::Exact).padding(), None);
}

#[test]
fn batches_in_one_bucket_have_one_shape() {
    let (one, other) = (Packing::filled_up(&[30, 2, 9], (4, 32)), Packing::filled_up(&[5], (4, 32)));
    assert_eq!(one.bucket, other.bucket);
    assert_eq!((&one.groups, &one.first_tokens), (&other.groups, &other.first_tokens));
    assert_eq!((one.order.len(), one.padded_tokens, other.padded_tokens), (3, 128, 128));
    let padding = one.padding().unwrap();
    let masked: Vec<usize> = padding.chunks(32).map(|row| row.iter().filter(|added| **added < 0.0).count()).collect();
    assert_eq!(masked, [30, 23, 2, 0], "the spare row attends to itself");
}
