using System.Globalization;
using System.IO;
using EphemeralFs.Metadata.Namespace;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Metadata.Journaling;

/// <summary>The directory of a volume: the newest snapshot and the segments that follow it.</summary>
/// <remarks>
/// <c>snapshot-N</c> is the state before segment N. Starting reads the newest snapshot and every segment from N on. A new snapshot is made in
/// the background from the files alone (the old snapshot and the segments that are closed), so that the volume serves on meanwhile.
/// </remarks>
public sealed class VolumeStore : IDisposable
{
    private readonly string _directory;
    private readonly uint _volume;
    private readonly long _snapshotAfterBytes;
    private readonly ILogger _logger;
    private readonly object _compacting = new();
    private long _snapshotBytes;
    private Task _compaction = Task.CompletedTask;

    private VolumeStore(string directory, uint volume, long snapshotAfterBytes, ILogger logger)
    {
        _directory = directory;
        _volume = volume;
        _snapshotAfterBytes = snapshotAfterBytes;
        _logger = logger;
    }

    /// <summary>Where records go now.</summary>
    public JournalSegment Journal { get; private set; } = null!;

    /// <summary>Bytes of all records written since the start.</summary>
    public long JournalBytes { get; private set; }

    /// <summary>Records replayed at the start.</summary>
    public ulong Replayed { get; private set; }

    /// <summary>Makes the directory of a new volume. One that was begun and not finished is made anew.</summary>
    public static void Create(string directory, VolumeState state) => Create(directory, target => Snapshot.Write(target, state, 1, 1));

    /// <summary>The same with a first snapshot that <paramref name="write"/> makes.</summary>
    public static void Create(string directory, Action<Stream> write)
    {
        Directory.CreateDirectory(directory);
        Snapshot.WriteFile(SnapshotPath(directory, 1), write);
    }

    /// <summary>Loads a volume.</summary>
    /// <exception cref="DamagedStateException">It cannot be loaded without losing acknowledged operations.</exception>
    public static (VolumeStore Store, VolumeState State) Open(string directory, uint volume, long snapshotAfterBytes, ILogger logger)
    {
        foreach (var temporary in Directory.GetFiles(directory, "*.tmp"))
        {
            File.Delete(temporary);
        }

        var store = new VolumeStore(directory, volume, snapshotAfterBytes, logger);
        var last = Numbers(directory, "journal-").DefaultIfEmpty().Max();
        var (state, segment, firstRecord) = store.Load(last, out var length, out var next);
        store.Replayed = next - firstRecord;
        if (last >= segment && length > 0)
        {
            store.Journal = JournalSegment.Continue(JournalPath(directory, last), last, next, length);
        }
        else
        {
            var number = Math.Max(last, segment);
            File.Delete(JournalPath(directory, number));
            store.Journal = JournalSegment.Create(JournalPath(directory, number), volume, number, next);
        }

        return (store, state);
    }

    /// <summary>Writes the records that were added, and begins a new segment and a snapshot when there are enough. Under the volume's lock.</summary>
    public void Flush()
    {
        var before = Journal.Length;
        Journal.Flush();
        JournalBytes += Journal.Length - before;
        if (Journal.Length > Math.Max(_snapshotAfterBytes, Math.Min(_snapshotBytes, 1 << 30)) && _compaction.IsCompleted)
        {
            BeginCompaction();
        }
    }

    /// <summary>Writes a snapshot of the state as it is, so that the next start replays nothing. Under the volume's lock, at a clean end.</summary>
    public void Checkpoint(VolumeState state)
    {
        _compaction.Wait();
        var number = Journal.Number + 1;
        Snapshot.WriteFile(SnapshotPath(_directory, number), state, number, Journal.NextRecord);
        DeleteBefore(number);
    }

    /// <summary>Waits for a snapshot that is being made in the background.</summary>
    public Task CompactionAsync() => _compaction;

    public void Dispose()
    {
        _compaction.Wait();
        Journal.Dispose();
    }

    private static string SnapshotPath(string directory, ulong number) => Path.Combine(directory, $"snapshot-{number:D16}");

    private static string JournalPath(string directory, ulong number) => Path.Combine(directory, $"journal-{number:D16}");

    private static IEnumerable<ulong> Numbers(string directory, string prefix) =>
        from path in Directory.GetFiles(directory, prefix + "*")
        where ulong.TryParse(Path.GetFileName(path)[prefix.Length..], NumberStyles.None, CultureInfo.InvariantCulture, out _)
        select ulong.Parse(Path.GetFileName(path)[prefix.Length..], CultureInfo.InvariantCulture);

    private void BeginCompaction()
    {
        var closed = Journal;
        var number = closed.Number + 1;
        Journal = JournalSegment.Create(JournalPath(_directory, number), _volume, number, closed.NextRecord);
        closed.Dispose();
        _compaction = Task.Run(() => Compact(number));
    }

    private void Compact(ulong number)
    {
        lock (_compacting)
        {
            try
            {
                var (state, _, _) = Load(number - 1, out _, out var next);
                _snapshotBytes = Snapshot.WriteFile(SnapshotPath(_directory, number), state, number, next);
                DeleteBefore(number);
                _logger.LogInformation("volume {Volume}: snapshot {Number} of {Bytes} bytes", _volume, number, _snapshotBytes);
            }
            catch (Exception e)
            {
                // Nothing is lost: the segments stay, and the next full segment tries again.
                _logger.LogError(e, "volume {Volume}: snapshot {Number} failed", _volume, number);
            }
        }
    }

    /// <summary>Reads the newest whole snapshot and the segments from it up to <paramref name="last"/>.</summary>
    private (VolumeState State, ulong Segment, ulong FirstRecord) Load(ulong last, out long length, out ulong next)
    {
        var (state, segment, firstRecord) = LoadSnapshot(last);
        var context = new OpContext();
        next = firstRecord;
        length = 0;
        var newest = Numbers(_directory, "journal-").DefaultIfEmpty().Max();
        for (var number = segment; number <= last; number++)
        {
            var path = JournalPath(_directory, number);
            if (!File.Exists(path))
            {
                throw new DamagedStateException($"{path}: missing, but later ones exist");
            }

            (next, length) = JournalReader.Read(
                path, _volume, number, next, number == newest, payload => Records.Apply(state, context, payload));
            var bytes = new FileInfo(path).Length;
            if (number == newest && length < bytes && number == last)
            {
                _logger.LogWarning(
                    "volume {Volume}: {Path} ends in the middle of a record that was never acknowledged; {Bytes} bytes are cut off",
                    _volume, path, bytes - length);
            }
        }

        return (state, segment, firstRecord);
    }

    private (VolumeState State, ulong Segment, ulong FirstRecord) LoadSnapshot(ulong last)
    {
        DamagedStateException? error = null;
        foreach (var number in Numbers(_directory, "snapshot-").OrderDescending())
        {
            if (last != 0 && number > last + 1)
            {
                continue;
            }

            try
            {
                var loaded = Snapshot.ReadFile(SnapshotPath(_directory, number), _volume);
                _snapshotBytes = new FileInfo(SnapshotPath(_directory, number)).Length;
                return loaded;
            }
            catch (DamagedStateException e)
            {
                // An older one will do if its segments are still there.
                _logger.LogError("volume {Volume}: {Error}", _volume, e.Message);
                error ??= e;
            }
        }

        throw error ?? new DamagedStateException($"{_directory}: no snapshot of volume {_volume}");
    }

    private void DeleteBefore(ulong number)
    {
        foreach (var old in Numbers(_directory, "journal-").Where(n => n < number))
        {
            File.Delete(JournalPath(_directory, old));
        }

        foreach (var old in Numbers(_directory, "snapshot-").Where(n => n < number))
        {
            File.Delete(SnapshotPath(_directory, old));
        }
    }
}
