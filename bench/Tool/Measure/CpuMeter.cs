using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Measure;

/// <summary>CPU time of other processes in nanoseconds, through their CPU clocks (man clock_getcpuclockid): exact where /proc/PID/stat counts in 10 ms.</summary>
internal sealed unsafe class CpuMeter(IReadOnlyList<int> pids)
{
    /// <summary>The sum over the processes that are alive; one that ended contributes nothing.</summary>
    public double Seconds()
    {
        double sum = 0;
        foreach (int pid in pids)
        {
            int clock;
            Libc.TimeSpec time;
            if (Libc.ClockGetCpuClockId(pid, &clock) == 0 && Libc.ClockGetTime(clock, &time) == 0)
            {
                sum += time.TotalNanoseconds / 1e9;
            }
        }

        return sum;
    }
}
