using EphemeralFs.Core;
using EphemeralFs.StorageServer.Blocks;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.StorageServer.Service;

/// <summary>What one pass over the blocks came to.</summary>
/// <param name="Checked">Blocks that were asked about.</param>
/// <param name="Freed">Blocks that were freed.</param>
/// <param name="Complete">Whether every question was answered and every block freed that may be.</param>
public readonly record struct ScrubResult(long Checked, long Freed, bool Complete);

/// <summary>Frees blocks that nobody needs: those of deleted files whose deletion did not get here, and those of nodes that died before they committed.</summary>
/// <remarks>Only the metadata servers know. When one does not answer, nothing that was asked in that question is freed, and the pass ends; it is repeated later.</remarks>
public sealed class Scrubber : IDisposable
{
    /// <summary>Blocks in one question: 32 KiB of ids.</summary>
    public const int BatchBlocks = 4096;

    /// <summary>Between passes when nobody asks, milliseconds: garbage is rare, and a pass costs a question for each 4 GiB of full blocks.</summary>
    public const int IntervalMs = 600_000;

    /// <summary>Pause after a pass that was not complete, milliseconds.</summary>
    public const int RetryMs = 15_000;

    private readonly BlockStore _store;
    private readonly Func<ulong[], Task<ulong[]>> _check;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _requested = new(0, 1);
    private readonly SemaphoreSlim _one = new(1, 1);
    private Task _loop = Task.CompletedTask;
    private long _passes;
    private long _failures;
    private long _freed;

    /// <summary>Prepares a scrubber.</summary>
    /// <param name="store">Whose blocks.</param>
    /// <param name="check">Of these blocks, those that may be freed. Throws when the answer is not certain.</param>
    /// <param name="log">For results.</param>
    public Scrubber(BlockStore store, Func<ulong[], Task<ulong[]>> check, ILogger log)
    {
        _store = store;
        _check = check;
        _log = log;
    }

    /// <summary>A pass now, or as soon as the one in progress has ended.</summary>
    public void Request()
    {
        try
        {
            _requested.Release();
        }
        catch (SemaphoreFullException)
        {
            // One is due already.
        }
    }

    /// <summary>One pass over all blocks.</summary>
    public async Task<ScrubResult> RunOnceAsync(CancellationToken cancellation = default)
    {
        await _one.WaitAsync(cancellation);
        try
        {
            var result = await PassAsync(cancellation);
            Interlocked.Increment(ref _passes);
            Interlocked.Add(ref _freed, result.Freed);
            if (!result.Complete)
            {
                Interlocked.Increment(ref _failures);
            }

            if (result.Freed > 0)
            {
                _log.LogInformation("Freed {Freed} of {Checked} blocks that nobody needs", result.Freed, result.Checked);
            }

            return result;
        }
        finally
        {
            _one.Release();
        }
    }

    /// <summary>Values for <c>/metrics</c>.</summary>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        yield return ("ephemeralfs_storage_scrub_passes_total", "", Volatile.Read(ref _passes));
        yield return ("ephemeralfs_storage_scrub_failures_total", "", Volatile.Read(ref _failures));
        yield return ("ephemeralfs_storage_scrub_freed_blocks_total", "", Volatile.Read(ref _freed));
    }

    /// <summary>Ends the loop; a pass in progress ends before its next question.</summary>
    public void Dispose()
    {
        _stop.Cancel();
        try
        {
            _loop.Wait();
        }
        catch (AggregateException e) when (e.InnerException is OperationCanceledException)
        {
            // That is how it ends.
        }

        _stop.Dispose();
    }

    internal void Start() => _loop = Task.Run(() => LoopAsync(_stop.Token));

    private async Task LoopAsync(CancellationToken stop)
    {
        while (true)
        {
            var result = await RunOnceAsync(stop);
            await _requested.WaitAsync(result.Complete ? IntervalMs : RetryMs, stop);
        }
    }

    private async Task<ScrubResult> PassAsync(CancellationToken cancellation)
    {
        long asked = 0;
        long freed = 0;
        var complete = true;
        ulong after = 0;
        for (var end = false; !end;)
        {
            cancellation.ThrowIfCancellationRequested();
            var ids = _store.List(after, BatchBlocks, out end);
            if (ids.Length == 0)
            {
                break;
            }

            after = ids[^1];
            ulong[] garbage;
            try
            {
                garbage = await _check(ids).WaitAsync(cancellation);
            }
            catch (Exception e) when (e is not OperationCanceledException || !cancellation.IsCancellationRequested)
            {
                _log.LogWarning("Asking which blocks are needed failed, nothing is freed: {Reason}", e.Message);
                return new ScrubResult(asked, freed, false);
            }

            asked += ids.Length;
            foreach (var id in garbage)
            {
                if (Array.BinarySearch(ids, id) < 0)
                {
                    _log.LogError("The answer names block {Block:x}, which was not asked about; it is left alone", id);
                    complete = false;
                }
                else if (_store.Delete(id) == Status.OK)
                {
                    freed++;
                }
                else
                {
                    complete = false;
                }
            }
        }

        return new ScrubResult(asked, freed, complete);
    }
}
