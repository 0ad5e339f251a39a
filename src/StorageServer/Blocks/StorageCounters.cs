namespace EphemeralFs.StorageServer.Blocks;

/// <summary>What a storage server has done since it started. Fields are changed with <see cref="Interlocked"/>.</summary>
internal sealed class StorageCounters
{
    public long BlocksWritten;
    public long BytesWritten;
    public long BlocksRead;
    public long BytesRead;
    public long BlocksDeleted;
    public long VolumesDeleted;

    /// <summary>Blocks that a tier before the one that took them had no room for, or failed.</summary>
    public long BlocksPassedOver;

    /// <summary>Writes that no tier took.</summary>
    public long WritesRefused;

    /// <summary>Received blocks that did not match their checksums.</summary>
    public long ChecksumMismatches;

    /// <summary>Reads of stored blocks that are damaged.</summary>
    public long CorruptReads;

    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        yield return ("ephemeralfs_storage_blocks_written_total", "", Volatile.Read(ref BlocksWritten));
        yield return ("ephemeralfs_storage_bytes_written_total", "", Volatile.Read(ref BytesWritten));
        yield return ("ephemeralfs_storage_blocks_read_total", "", Volatile.Read(ref BlocksRead));
        yield return ("ephemeralfs_storage_bytes_read_total", "", Volatile.Read(ref BytesRead));
        yield return ("ephemeralfs_storage_blocks_deleted_total", "", Volatile.Read(ref BlocksDeleted));
        yield return ("ephemeralfs_storage_volumes_deleted_total", "", Volatile.Read(ref VolumesDeleted));
        yield return ("ephemeralfs_storage_blocks_passed_over_total", "", Volatile.Read(ref BlocksPassedOver));
        yield return ("ephemeralfs_storage_writes_refused_total", "", Volatile.Read(ref WritesRefused));
        yield return ("ephemeralfs_storage_checksum_mismatches_total", "", Volatile.Read(ref ChecksumMismatches));
        yield return ("ephemeralfs_storage_corrupt_reads_total", "", Volatile.Read(ref CorruptReads));
    }
}
