using System.Diagnostics;
using EphemeralFs.Rpc;

namespace EphemeralFs.Hosting.Metrics;

/// <summary>What every process tells of itself, under the names that Prometheus clients share.</summary>
public static class ProcessMetrics
{
    private static readonly double s_startTimeSeconds = new DateTimeOffset(Process.GetCurrentProcess().StartTime).ToUnixTimeMilliseconds() / 1000.0;

    /// <summary>CPU, memory, descriptors, threads, garbage collection, and frames that were none.</summary>
    public static IEnumerable<(string Name, string Labels, double Value)> Read()
    {
        using var process = Process.GetCurrentProcess();
        yield return ("process_cpu_seconds_total", "", process.TotalProcessorTime.TotalSeconds);
        yield return ("process_resident_memory_bytes", "", process.WorkingSet64);
        yield return ("process_virtual_memory_bytes", "", process.VirtualMemorySize64);
        yield return ("process_start_time_seconds", "", s_startTimeSeconds);
        yield return ("process_open_fds", "", Directory.EnumerateFileSystemEntries("/proc/self/fd").Count());
        yield return ("process_threads", "", process.Threads.Count);
        yield return ("dotnet_heap_bytes", "", GC.GetTotalMemory(false));
        yield return ("dotnet_allocated_bytes_total", "", GC.GetTotalAllocatedBytes());
        for (var generation = 0; generation <= GC.MaxGeneration; generation++)
        {
            yield return ("dotnet_collections_total", MetricsText.Label("generation", $"{generation}"), GC.CollectionCount(generation));
        }

        yield return ("dotnet_gc_pause_seconds_total", "", GC.GetTotalPauseDuration().TotalSeconds);
        yield return ("ephemeralfs_rpc_malformed_frames_total", "", RpcTrace.MalformedFrames);
    }
}
