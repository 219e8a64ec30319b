import '@mantine/charts/styles.css';
// Of its legend.
import '@mantine/core/styles/ColorSwatch.css';
import { BarChart } from '@mantine/charts';
import { VisuallyHidden } from '@mantine/core';

export interface DayChartProps {
  /** What the chart shows. */
  label: string;
  /** Oldest first; each day with the figure of every series. */
  data: readonly ({ day: string } & Record<string, number | string>)[];
  series: readonly { name: string; label: string; color: string }[];
  /** Of a figure, in the tooltip and at the axis. */
  format: (value: number) => string;
  /** In pixels. */
  height: number;
}

/** A chart without a legend is smaller by that, so that the charts beside each other have one base line. */
const LEGEND_PX = 32;

/** How many days lie between two that are named at the axis: today and so few others that all fit on a phone. */
const namedEvery = (days: number): number => (days <= 7 ? 2 : days <= 31 ? 7 : 28);

const dayName = new Intl.DateTimeFormat('en', { month: 'short', day: 'numeric', timeZone: 'UTC' });
const nameOf = (day: string): string => dayName.format(new Date(`${day}T00:00:00Z`));

/** The picture for who can see it, and the same as a table for who cannot. */
export default function DayChart({ label, data, series, format, height }: DayChartProps) {
  const step = namedEvery(data.length);
  const named = data.filter((_, index) => (data.length - 1 - index) % step === 0);
  return (
    <figure aria-label={label} style={{ margin: 0 }}>
      <div aria-hidden="true">
        <BarChart
          h={series.length > 1 ? height : height - LEGEND_PX}
          data={data.map((row) => ({ ...row, day: nameOf(row.day) }))}
          dataKey="day"
          type="stacked"
          series={[...series]}
          valueFormatter={format}
          withLegend={series.length > 1}
          legendProps={{ verticalAlign: 'bottom', height: LEGEND_PX }}
          tickLine="none"
          xAxisProps={{ ticks: named.map(({ day }) => nameOf(day)) }}
          // Every tick with its line; left to itself, the library moves the topmost and leaves out the line below.
          yAxisProps={{ width: 'auto', allowDecimals: true, interval: 0 }}
          gridProps={{ syncWithTicks: true }}
          barChartProps={{ accessibilityLayer: false, margin: { top: 10, right: 8, left: 10 } }}
          maxBarWidth={32}
        />
      </div>
      <VisuallyHidden>
        <table>
          <caption>{label}</caption>
          <thead>
            <tr>
              <th scope="col">Day</th>
              {series.map((line) => (
                <th key={line.name} scope="col">
                  {line.label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {data.map((row) => (
              <tr key={row.day}>
                <th scope="row">{row.day}</th>
                {series.map((line) => (
                  <td key={line.name}>{format(Number(row[line.name]))}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </VisuallyHidden>
    </figure>
  );
}
