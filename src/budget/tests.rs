use super::*;

#[test]
fn a_burst_is_free_and_then_each_takes_its_time() {
    let start = Instant::now();
    let mut budget = Budget::full(start);
    for _ in 0..MOST {
        assert_eq!(budget.take(start, 0), Ok(()));
    }
    assert_eq!(budget.take(start, 0), Err(start + REFILL));
    assert_eq!(budget.take(start + REFILL, 0), Ok(()));
    assert_eq!(budget.take(start + REFILL, 0), Err(start + REFILL * 2));
}

#[test]
fn old_workers_slow_it_down() {
    let start = Instant::now();
    let mut budget = Budget::full(start);
    for _ in 0..MOST {
        assert_eq!(budget.take(start, 3), Ok(()));
    }
    assert_eq!(budget.take(start + REFILL, 3), Err(start + REFILL * 4));
    assert_eq!(budget.take(start + REFILL * 4, 3), Ok(()));
}

#[test]
fn a_quiet_time_fills_it_and_no_more() {
    let start = Instant::now();
    let mut budget = Budget::full(start);
    let later = start + REFILL * 1000;
    for _ in 0..MOST {
        assert_eq!(budget.take(later, 0), Ok(()));
    }
    assert_eq!(budget.take(later, 0), Err(later + REFILL));
}

#[test]
fn what_is_left_is_what_may_be_taken_at_once() {
    let start = Instant::now();
    let mut budget = Budget::full(start);
    assert_eq!(budget.left(start, 0), MOST);
    for left in (0..MOST).rev() {
        assert_eq!(budget.take(start, 0), Ok(()));
        assert_eq!(budget.left(start, 0), left);
    }
    assert_eq!(budget.left(start + REFILL, 0), 1);
    assert_eq!(budget.left(start + REFILL, 1), 0);
    assert_eq!(budget.left(start + REFILL * 1000, 0), MOST);
}
