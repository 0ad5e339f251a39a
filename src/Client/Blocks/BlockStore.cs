using System.Collections.Concurrent;
using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Blocks;

/// <summary>Writes and reads blocks: placement, checksums, retries, the cache, and one transfer for many who want the same bytes.</summary>
/// <param name="servers">The storage servers.</param>
/// <param name="cache">Where read pieces are kept.</param>
/// <param name="deadlineMs">How long a dead server is waited for, milliseconds.</param>
public sealed class BlockStore(StorageServers servers, BlockCache cache, int deadlineMs = Limits.RequestDeadlineMs)
{
    /// <summary>A write that a server does not take in this time is tried at another one, milliseconds.</summary>
    private const int WriteAttemptMs = 5000;

    private const int ReadAttemptMs = 5000;

    private readonly ConcurrentDictionary<(ulong BlockId, uint Unit), Task> _transfers = new();

    /// <summary>Blocks and bytes written and read over the network since start.</summary>
    public long BlocksWritten, BytesWritten, BlocksRead, BytesRead, ChecksumErrors;

    /// <summary>Writes a block under a fresh id to some server that has room, and keeps it in the cache: what was just written is often read next.</summary>
    /// <returns>Where it is; ENOSPC when all servers are full, EIO when none answered within the deadline or the session has ended.</returns>
    public async ValueTask<(Status Status, ulong BlockId, uint Server)> WriteAsync(MetadataSession session, GrantPool grants, Placement placement, PooledBuffer block)
    {
        var written = await WriteAsync(session, grants, placement, block.Memory);
        if (written.Status == Status.OK)
        {
            cache.Add(written.BlockId, 0, block);
        }

        return written;
    }

    /// <summary>Writes a block under a fresh id to some server that has room.</summary>
    public async ValueTask<(Status Status, ulong BlockId, uint Server)> WriteAsync(MetadataSession session, GrantPool grants, Placement placement, ReadOnlyMemory<byte> data)
    {
        var checksums = new uint[(data.Length + Limits.ChecksumUnitBytes - 1) / Limits.ChecksumUnitBytes];
        for (var unit = 0; unit < checksums.Length; unit++)
        {
            var start = unit * Limits.ChecksumUnitBytes;
            checksums[unit] = Crc32C.Compute(data.Span.Slice(start, Math.Min(Limits.ChecksumUnitBytes, data.Length - start)));
        }

        var deadline = Environment.TickCount64 + deadlineMs;
        var tried = new List<uint>();
        var full = 0;
        while (true)
        {
            if (session.Header is not { } header)
            {
                return (Status.StaleEpoch, 0, 0);
            }

            if (servers.Choose(tried, placement.Tier) is not { } choice)
            {
                if (full > 0 && full == tried.Count)
                {
                    return (Errno.ENOSPC.ToStatus(), 0, 0);
                }

                if (Environment.TickCount64 >= deadline)
                {
                    RpcTrace.Failed(Opcode.WriteBlock, Status.Unavailable, $"{tried.Count} storage servers");
                    return (Status.Unavailable, 0, 0);
                }

                // Nobody took it: wait for a server to come back or to be announced, then begin again.
                await Task.Delay(RpcPeer.DeadlineResolutionMs);
                tried.Clear();
                full = 0;
                continue;
            }

            // A fresh id for each attempt: a server that seemed dead may hold the block under the old one.
            var (status, blockId) = await grants.TakeBlockAsync();
            if (status != Status.OK)
            {
                return (status, 0, 0);
            }

            var left = (int)Math.Clamp(deadline - Environment.TickCount64, 1, WriteAttemptMs);
            var request = new WriteBlockRequest(blockId, choice.Tier, checksums);
            var result = session.Checked(await choice.Client.CallAsync<WriteBlockRequest, WriteBlockReply>(request, header, data, left), header);
            if (result.IsOk)
            {
                Interlocked.Increment(ref BlocksWritten);
                Interlocked.Add(ref BytesWritten, data.Length);
                return (Status.OK, blockId, choice.Id);
            }

            if (result.Status is Status.StaleEpoch or Status.UnknownSession)
            {
                return (Status.StaleEpoch, 0, 0);
            }

            tried.Add(choice.Id);
            if (result.Status == Status.TierFull)
            {
                full++;
            }
            else
            {
                servers.Suspect(choice.Id);
            }
        }
    }

    /// <summary>Reads part of a block into <paramref name="target"/>.</summary>
    /// <returns><see cref="Status.BlockNotFound"/> when the block was freed meanwhile: the caller's layout is old.</returns>
    public async ValueTask<Status> ReadAsync(uint server, ulong blockId, uint offset, Memory<byte> target, CancellationToken cancellation)
    {
        while (true)
        {
            if (TryCopyCached(blockId, offset, target.Span))
            {
                return Status.OK;
            }

            var firstUnit = offset / Limits.ChecksumUnitBytes;
            var lastUnit = (uint)((offset + target.Length - 1) / Limits.ChecksumUnitBytes);
            var (status, buffer) = await FetchAsync(server, blockId, firstUnit, lastUnit, cancellation);
            if (status != Status.OK)
            {
                return status;
            }

            if (buffer is null)
            {
                // Somebody else's transfer brought it into the cache.
                continue;
            }

            using (buffer)
            {
                var start = (int)(offset - (firstUnit * Limits.ChecksumUnitBytes));
                if (buffer.Length < start + target.Length)
                {
                    return Status.BlockCorrupt;
                }

                buffer.Span.Slice(start, target.Length).CopyTo(target.Span);
                return Status.OK;
            }
        }
    }

    /// <summary>Brings part of a block into the cache, ahead of its use. Failures show when the bytes are read.</summary>
    public async ValueTask PrefetchAsync(uint server, ulong blockId, uint offset, uint length)
    {
        var first = offset / Limits.ChecksumUnitBytes;
        var last = (offset + length - 1) / Limits.ChecksumUnitBytes;
        while (first <= last && cache.Contains(blockId, first))
        {
            first++;
        }

        if (first <= last)
        {
            var (_, buffer) = await FetchAsync(server, blockId, first, last, CancellationToken.None);
            buffer?.Dispose();
        }
    }

    private bool TryCopyCached(ulong blockId, uint offset, Span<byte> target)
    {
        while (!target.IsEmpty)
        {
            var unit = offset / Limits.ChecksumUnitBytes;
            var within = (int)(offset % Limits.ChecksumUnitBytes);
            var count = Math.Min(target.Length, Limits.ChecksumUnitBytes - within);
            if (!cache.TryCopy(blockId, unit, within, target[..count]))
            {
                return false;
            }

            target = target[count..];
            offset += (uint)count;
        }

        return true;
    }

    /// <summary>Transfers whole units. A null buffer with OK: a transfer of another reader was waited for, look into the cache again.</summary>
    private async ValueTask<(Status Status, PooledBuffer? Buffer)> FetchAsync(uint server, ulong blockId, uint first, uint last, CancellationToken cancellation)
    {
        var mine = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var claimed = first;
        for (; claimed <= last; claimed++)
        {
            var other = _transfers.GetOrAdd((blockId, claimed), mine.Task);
            if (other != mine.Task)
            {
                if (claimed > first)
                {
                    break;
                }

                await other.WaitAsync(cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                return (cancellation.IsCancellationRequested ? Status.Canceled : Status.OK, null);
            }
        }

        try
        {
            var result = await TransferAsync(server, blockId, first, claimed - 1, cancellation);
            if (result.Buffer is null || claimed > last)
            {
                return result;
            }

            // Only the first part was ours to fetch; it is in the cache now.
            result.Buffer.Dispose();
            return (Status.OK, null);
        }
        finally
        {
            for (var unit = first; unit < claimed; unit++)
            {
                _transfers.TryRemove(new KeyValuePair<(ulong, uint), Task>((blockId, unit), mine.Task));
            }

            mine.SetResult();
        }
    }

    private async ValueTask<(Status Status, PooledBuffer? Buffer)> TransferAsync(uint server, ulong blockId, uint first, uint last, CancellationToken cancellation)
    {
        var deadline = Environment.TickCount64 + deadlineMs;
        var request = new ReadBlockRequest(blockId, first * Limits.ChecksumUnitBytes, (last - first + 1) * Limits.ChecksumUnitBytes);
        while (true)
        {
            var left = (int)Math.Clamp(deadline - Environment.TickCount64, 1, ReadAttemptMs);
            var client = servers.Find(server);
            var result = client is null
                ? new RpcResult<ReadBlockReply>(Status.Unavailable, default)
                : await client.CallAsync<ReadBlockRequest, ReadBlockReply>(request, timeoutMs: left, cancellation: cancellation);
            if (result.IsOk && result.Body is { } body)
            {
                if (Verify(body.Span, result.Value.Checksums))
                {
                    Interlocked.Increment(ref BlocksRead);
                    Interlocked.Add(ref BytesRead, body.Length);
                    cache.Add(blockId, first, body);
                    return (Status.OK, body);
                }

                Interlocked.Increment(ref ChecksumErrors);
                body.Dispose();
                result = new RpcResult<ReadBlockReply>(Status.ChecksumMismatch, default);
            }

            if (result.Status is Status.BlockNotFound or Status.Canceled)
            {
                return (result.Status, null);
            }

            if (Environment.TickCount64 >= deadline)
            {
                RpcTrace.Failed(Opcode.ReadBlock, result.Status, $"storage server {server}");
                return (result.Status, null);
            }

            if (result.Status is not Status.Unavailable)
            {
                // Corrupt on the medium or on the way: once more may help, for ever does not.
                deadline = Math.Min(deadline, Environment.TickCount64 + RpcPeer.DeadlineResolutionMs);
            }
            else if (client is null)
            {
                await Task.Delay(RpcPeer.DeadlineResolutionMs, cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                if (cancellation.IsCancellationRequested)
                {
                    return (Status.Canceled, null);
                }
            }
        }
    }

    private static bool Verify(ReadOnlySpan<byte> data, uint[] checksums)
    {
        if (checksums.Length != (data.Length + Limits.ChecksumUnitBytes - 1) / Limits.ChecksumUnitBytes)
        {
            return false;
        }

        for (var unit = 0; unit < checksums.Length; unit++)
        {
            var start = unit * Limits.ChecksumUnitBytes;
            if (Crc32C.Compute(data.Slice(start, Math.Min(Limits.ChecksumUnitBytes, data.Length - start))) != checksums[unit])
            {
                return false;
            }
        }

        return true;
    }
}
