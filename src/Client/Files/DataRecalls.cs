using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>
/// Which files' bytes the server has called back (<see cref="RecallRequest"/>). What was asked before and is learned after is old: where the bytes are, where they
/// end, and that they need not be written through.
/// </summary>
/// <remarks>
/// An answer reaches its asker on another thread than the recall that follows it. So the asker first makes the file one that a recall finds, and looks here under
/// the lock under which a recall forgets; a recall is noted here before it looks for the file. One of the two finds the other.
/// </remarks>
public sealed class DataRecalls
{
    /// <summary>Inodes share places: at worst something is asked once more, or written through that need not be.</summary>
    private const int Places = 256;

    private readonly long[] _recalled = new long[Places];
    private readonly long[] _through = new long[Places];
    private long _sequence;

    /// <summary>A question goes out.</summary>
    public long Ask() => Volatile.Read(ref _sequence);

    /// <summary>A recall has come. Called on the connection's receive thread before it is looked whether the file is open.</summary>
    public void Note(ulong ino, RecallAction action)
    {
        var now = Interlocked.Increment(ref _sequence);
        Volatile.Write(ref _recalled[ino % Places], now);
        if (action == RecallAction.GoThrough)
        {
            Volatile.Write(ref _through[ino % Places], now);
        }
    }

    /// <summary>Whether a recall of the inode has come since the question.</summary>
    public bool IsOvertaken(long asked, ulong ino) => Volatile.Read(ref _recalled[ino % Places]) > asked;

    /// <summary>Whether the node has been told since the question to write the inode through.</summary>
    public bool MustGoThrough(long asked, ulong ino) => Volatile.Read(ref _through[ino % Places]) > asked;
}
