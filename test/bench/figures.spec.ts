import { expect } from 'chai';
import { quantile, spreadOf, verdictAtLeast, verdictOf } from '../../bench/lib/figures.ts';

describe('the figures of benchmarks', () => {
  it('puts the median of an even number between the two in the middle', () => {
    expect(spreadOf([4, 1, 3, 2]).median).to.equal(2.5);
    expect(spreadOf([5, 1, 3]).median).to.equal(3);
    expect(spreadOf([]).median).to.be.NaN;
  });

  it('takes the slowest of a few as their 99th percentile', () => {
    expect(quantile([3, 9, 1], 0.99)).to.equal(9);
  });

  it('tells no verdict where the middle half of the repetitions lies on both sides', () => {
    expect(verdictOf([0.8, 0.9, 1, 1.1], 1)).to.equal('met');
    expect(verdictOf([0.9, 0.9, 1.1, 1.1], 1)).to.equal('unclear');
    expect(verdictOf([1.1, 1.2, 1.3], 1)).to.equal('missed');
    expect(verdictAtLeast([4, 5, 6], 4)).to.equal('met');
    expect(verdictAtLeast([3, 3, 5, 5], 4)).to.equal('unclear');
    expect(verdictAtLeast([1, 2, 3], 4)).to.equal('missed');
  });

  it('tells no verdict without repetitions', () => {
    expect(verdictOf([], 1)).to.equal('unclear');
    expect(verdictAtLeast([], 1)).to.equal('unclear');
  });
});
