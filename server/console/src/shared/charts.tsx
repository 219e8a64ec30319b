import { Skeleton } from '@mantine/core';
import { lazy, Suspense } from 'react';
import type { DayChartProps } from './DayChart.tsx';

// The chart library is as large as all the rest: it comes when the first chart is shown.
const Loaded = lazy(() => import('./DayChart.tsx'));

const HEIGHT = 220;

/** Figures by day, as bars. */
export function DayChart(props: Omit<DayChartProps, 'height'>) {
  const waiting = <Skeleton height={HEIGHT} />;
  return <Suspense fallback={waiting}>{<Loaded {...props} height={HEIGHT} />}</Suspense>;
}
