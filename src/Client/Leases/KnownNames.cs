using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Client.Leases;

/// <summary>
/// Names that the node knows because the server has leased it their directories: which inode each has, or that there is none. Of directories that it made, or
/// has listed from beginning to end, it knows every name, so that making a file costs no question whether there is one.
/// </summary>
/// <remarks>
/// <para>Only hashes are kept. A name that is about to change, because this node asks for it or because another node has, is known to be <em>perhaps there</em>:
/// that costs a question, while anything else could be a lie.</para>
/// <para>What was asked before a change is not kept when its answer comes after it: <see cref="Ask"/> and <see cref="Learn"/> number them. A directory that another
/// node has removed was empty, and no name is found in it any more.</para>
/// </remarks>
public sealed class KnownNames(LeaseTable leases, Func<int> leaseMs, TimeProvider time)
{
    /// <summary>All names together, some 12 MB; when there are more, all are forgotten.</summary>
    private const int Max = 1 << 18;

    private const int MaxDirectories = 1 << 12;

    private const int Stripes = 1024;

    /// <summary>Stands for the inode of a name that may be there.</summary>
    private const ulong Perhaps = Ino.None;

    /// <summary>Stands for the inode of a name that is not there.</summary>
    private const ulong Absent = ulong.MaxValue;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Directory> _directories = [];
    private readonly Dictionary<ulong, LeaseOffer> _listings = []; // what the kernel has of listings is not older
    private readonly long[] _changedAt = new long[Stripes];
    private long _version;
    private int _names;

    /// <summary>A question goes out: goes with its answer to <see cref="Learn"/>.</summary>
    public Question Ask()
    {
        var offer = leases.Ask();
        lock (_lock)
        {
            return new Question(offer, _version);
        }
    }

    /// <summary>Whether it is known what a name is.</summary>
    /// <param name="parent">The directory.</param>
    /// <param name="name">The name.</param>
    /// <param name="ino">Its inode; <see cref="Ino.None"/>: there is none.</param>
    /// <param name="offer">What may be told the kernel of the name.</param>
    public bool TryFind(ulong parent, ReadOnlySpan<byte> name, out ulong ino, out LeaseOffer offer)
    {
        // Here and in the kernel together it is used no longer than the lease lasts.
        offer = leases.Ask();
        lock (_lock)
        {
            if (_directories.TryGetValue(parent, out var directory) && directory.UntilMs - offer.AskedMs is > 0 and var leftMs)
            {
                ino = directory.Names.TryGetValue(NameHash.Wide(name), out var known) ? known : directory.IsComplete ? Absent : Perhaps;
                if (ino != Perhaps)
                {
                    ino = ino == Absent ? Ino.None : ino;
                    offer = offer.With(directory.Granted) with { MaxMs = (int)leftMs };
                    return true;
                }
            }
        }

        ino = Ino.None;
        return false;
    }

    /// <summary>The server has answered which inode a name has.</summary>
    /// <param name="parent">The directory.</param>
    /// <param name="name">The name.</param>
    /// <param name="ino">Its inode; <see cref="Ino.None"/>: there is none.</param>
    /// <param name="question">When it was asked.</param>
    /// <param name="granted">What may be cached of the answer.</param>
    public void Learn(ulong parent, ReadOnlySpan<byte> name, ulong ino, in Question question, FrameFlags granted)
    {
        lock (_lock)
        {
            if (Extend(parent, question.Offer, granted, orAdd: true) is { } directory && IsLeased(granted)
                && _changedAt[StripeOf(parent)] <= question.Version && !leases.IsOvertaken(question.Offer, parent))
            {
                Set(directory, NameHash.Wide(name), ino == Ino.None ? Absent : ino);
            }
        }
    }

    /// <summary>The server has answered that this node has given a name to an inode. The kernel lets nobody here change it meanwhile; another node may have.</summary>
    public void Made(ulong parent, ReadOnlySpan<byte> name, ulong ino, in LeaseOffer asked, FrameFlags granted)
    {
        lock (_lock)
        {
            Change(parent);
            if (Extend(parent, asked, granted, orAdd: false) is { } directory)
            {
                Set(directory, NameHash.Wide(name), leases.IsOvertaken(asked, parent) ? Perhaps : ino);
            }
        }
    }

    /// <summary>The server has answered something about a name of the directory that is known already.</summary>
    public void Answered(ulong parent, in LeaseOffer asked, FrameFlags granted)
    {
        lock (_lock)
        {
            Extend(parent, asked, granted, orAdd: false);
        }
    }

    /// <summary>The server has answered that this node has removed a name.</summary>
    public void Removed(ulong parent, ReadOnlySpan<byte> name, in LeaseOffer asked)
    {
        lock (_lock)
        {
            Change(parent);
            if (!_directories.TryGetValue(parent, out var directory))
            {
                return;
            }

            var hash = NameHash.Wide(name);
            if (leases.IsOvertaken(asked, parent))
            {
                Set(directory, hash, Perhaps);
            }
            else if (!directory.IsComplete)
            {
                Set(directory, hash, Absent);
            }
            else if (directory.Names.Remove(hash))
            {
                _names--;
            }
        }
    }

    /// <summary>A name may be there, or be something else, from now on: this node is about to ask for that, has heard of a failure, or another node has changed it.</summary>
    public void MayChange(ulong parent, ReadOnlySpan<byte> name)
    {
        lock (_lock)
        {
            Change(parent);
            if (_directories.TryGetValue(parent, out var directory))
            {
                Set(directory, NameHash.Wide(name), Perhaps);
            }
        }
    }

    /// <summary>A directory was made by this node, which the server has granted it the names of: there are none.</summary>
    public void MadeDirectory(ulong ino, in LeaseOffer asked, FrameFlags granted)
    {
        if ((granted & FrameFlags.AttributesLeased) == 0)
        {
            return;
        }

        lock (_lock)
        {
            if (!leases.IsOvertaken(asked, ino))
            {
                Add(ino, asked, FrameFlags.NamesSole).IsComplete = true;
            }
        }
    }

    /// <summary>The node listed a part of a directory.</summary>
    /// <param name="ino">The directory.</param>
    /// <param name="question">When it asked.</param>
    /// <param name="granted">What may be cached of the answer.</param>
    /// <param name="from">The cookie that the part begins after; 0 for the beginning.</param>
    /// <param name="to">The last cookie of the part; the same as <paramref name="from"/> when it is empty.</param>
    /// <param name="isEnd">Whether the directory ends there.</param>
    /// <param name="names">The names and their inodes.</param>
    public void Listed(
        ulong ino, in Question question, FrameFlags granted, ulong from, ulong to, bool isEnd, IEnumerable<(ReadOnlyMemory<byte> Name, ulong Ino)> names)
    {
        if (!IsLeased(granted))
        {
            return;
        }

        lock (_lock)
        {
            var isUnchanged = _changedAt[StripeOf(ino)] <= question.Version;
            var directory = _directories.GetValueOrDefault(ino);
            if (directory is { IsComplete: true } && directory.UntilMs >= question.Offer.AskedMs)
            {
                Extend(ino, question.Offer, granted, orAdd: false);
                return;
            }

            if (from == 0)
            {
                // What is changed from now on is noted.
                Remove(ino);
                if (!isUnchanged || leases.IsOvertaken(question.Offer, ino))
                {
                    return;
                }

                directory = Add(ino, question.Offer, granted);
            }
            else if (directory is null || directory.ListedTo != from || directory.UntilMs < question.Offer.AskedMs)
            {
                return;
            }

            foreach (var (name, named) in names)
            {
                // What has changed since the listing began is noted already, or is perhaps not any more what was listed.
                var hash = NameHash.Wide(name.Span);
                if (isUnchanged || !directory.Names.ContainsKey(hash))
                {
                    Set(directory, hash, isUnchanged ? named : Perhaps);
                }
            }

            directory.ListedTo = to;
            directory.IsComplete = isEnd;
        }
    }

    /// <summary>
    /// The kernel opens a directory, and may keep the listing that it will read: whether it may use the one that it has kept, because nobody else has changed the
    /// directory since. (Changes of this node it knows itself.) Else it drops that one.
    /// </summary>
    public bool KeepsListing(ulong ino)
    {
        var offer = leases.Ask();
        lock (_lock)
        {
            if (_listings.TryGetValue(ino, out var since) && !leases.IsOvertaken(since, ino)
                && _directories.TryGetValue(ino, out var directory) && directory.IsComplete && directory.UntilMs > offer.AskedMs)
            {
                return true;
            }

            if (_listings.Count >= MaxDirectories)
            {
                _listings.Clear();
            }

            _listings[ino] = offer;
            return false;
        }
    }

    /// <summary>Whether the kernel may have a listing of the directory.</summary>
    public bool HasListing(ulong ino)
    {
        lock (_lock)
        {
            return _listings.ContainsKey(ino);
        }
    }

    /// <summary>A directory is gone.</summary>
    public void Forget(ulong ino)
    {
        lock (_lock)
        {
            Change(ino);
            Remove(ino);
            _listings.Remove(ino);
        }
    }

    /// <summary>Other nodes may have changed anything.</summary>
    public void ForgetEverything()
    {
        lock (_lock)
        {
            Clear();
            Array.Fill(_changedAt, ++_version);
        }
    }

    private static bool IsLeased(FrameFlags granted) => (granted & (FrameFlags.NamesSole | FrameFlags.NamesShared)) != 0;

    private static int StripeOf(ulong ino) => (int)(ino % Stripes);

    private void Change(ulong parent) => _changedAt[StripeOf(parent)] = ++_version;

    /// <summary>
    /// The server has answered something about a name of the directory: its lease of the names is as new as the question. A lease that may have ended meanwhile
    /// does not go on: what others changed in between was told nobody here.
    /// </summary>
    /// <returns>The directory; null when nothing is known of it.</returns>
    private Directory? Extend(ulong ino, in LeaseOffer asked, FrameFlags granted, bool orAdd)
    {
        var isInTime = asked.AskedMs + Limits.LeaseAnswerMs >= time.NowMs();
        if (_directories.TryGetValue(ino, out var directory))
        {
            if (!IsLeased(granted))
            {
                return directory;
            }

            if (directory.UntilMs >= asked.AskedMs && isInTime)
            {
                directory.UntilMs = Math.Max(directory.UntilMs, asked.AskedMs + leaseMs());
                directory.Granted = granted & (FrameFlags.NamesSole | FrameFlags.NamesShared);
                return directory;
            }

            Remove(ino);
        }

        return orAdd && IsLeased(granted) && isInTime && !leases.IsOvertaken(asked, ino) ? Add(ino, asked, granted) : null;
    }

    private Directory Add(ulong ino, in LeaseOffer asked, FrameFlags granted)
    {
        if (_directories.Count >= MaxDirectories)
        {
            Clear();
        }

        var directory = new Directory
        {
            UntilMs = asked.AskedMs + leaseMs(),
            Granted = granted & (FrameFlags.NamesSole | FrameFlags.NamesShared),
        };
        _directories[ino] = directory;
        return directory;
    }

    private void Set(Directory directory, ulong hash, ulong ino)
    {
        if (ino == Perhaps && !directory.IsComplete && directory.ListedTo == 0)
        {
            // What is not known is perhaps there anyway.
            _names -= directory.Names.Remove(hash) ? 1 : 0;
            return;
        }

        _names += directory.Names.TryAdd(hash, ino) ? 1 : 0;
        directory.Names[hash] = ino;
        if (_names > Max)
        {
            Clear();
        }
    }

    private void Remove(ulong ino)
    {
        if (_directories.Remove(ino, out var directory))
        {
            _names -= directory.Names.Count;
        }
    }

    private void Clear()
    {
        _directories.Clear();
        _names = 0;
        _listings.Clear();
    }

    /// <summary>When something was asked, in recalls and in changes of names.</summary>
    public readonly record struct Question(LeaseOffer Offer, long Version);

    private sealed class Directory
    {
        /// <summary>Inodes by the hashes of their names.</summary>
        public readonly Dictionary<ulong, ulong> Names = [];

        /// <summary>Whether all names are known; false while it is being listed.</summary>
        public bool IsComplete;

        /// <summary>Until when the names are leased, milliseconds of the monotonic clock.</summary>
        public long UntilMs;

        /// <summary>How they are leased.</summary>
        public FrameFlags Granted;

        /// <summary>How far the listing under way has come.</summary>
        public ulong ListedTo;
    }
}
