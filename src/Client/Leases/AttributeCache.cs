using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Client.Leases;

/// <summary>
/// Attributes that the node has leased: it answers its kernel from here what it would ask the metadata server again. They are the server's, without what this
/// node has not committed yet.
/// </summary>
/// <remarks>
/// Two things make an entry worthless: a recall because of another node, which comes before the other node's operation is answered, and a change by this node,
/// of which the server tells nobody. The latter is announced here by <see cref="Begin"/> and <see cref="End"/>; what was asked before it ended is not kept.
/// </remarks>
public sealed class AttributeCache(LeaseTable leases, Func<int> leaseMs)
{
    /// <summary>Some 10 MB; when there are more, all are asked for again.</summary>
    private const int Max = 1 << 16;

    private const int Stripes = 1024;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Entry> _inodes = [];
    private readonly Stripe[] _stripes = new Stripe[Stripes];
    private long _version;

    /// <summary>A question goes out: goes with its answer to <see cref="Learn"/>.</summary>
    public Question Ask()
    {
        var offer = leases.Ask();
        lock (_lock)
        {
            return new Question(offer, _version);
        }
    }

    /// <summary>The attributes, and what may be told the kernel of them; false when they must be asked for.</summary>
    public bool TryGet(ulong ino, out InodeAttributes attributes, out LeaseOffer offer)
    {
        // Here and in the kernel together it is used no longer than the lease lasts.
        offer = leases.Ask();
        lock (_lock)
        {
            if (_inodes.TryGetValue(ino, out var entry) && entry.UntilMs - offer.AskedMs is > 0 and var leftMs)
            {
                attributes = entry.Attributes;
                offer = offer.With(FrameFlags.AttributesLeased) with { MaxMs = (int)leftMs };
                return true;
            }
        }

        attributes = default;
        return false;
    }

    /// <summary>Whether the attributes are known and leased.</summary>
    public bool IsLeased(ulong ino) => TryGet(ino, out _, out _);

    /// <summary>Whether the inode was recalled, or this node has begun to change it, since a question about it went out.</summary>
    public bool IsOvertaken(in Question question, ulong ino)
    {
        lock (_lock)
        {
            return IsOvertakenLocked(question, ino);
        }
    }

    /// <summary>Keeps what the server answered, if it may be kept.</summary>
    /// <param name="question">When it was asked.</param>
    /// <param name="attributes">What was answered.</param>
    /// <param name="granted">What of it may be kept.</param>
    /// <param name="maxMs">For how many milliseconds at most.</param>
    /// <returns>False when it <see cref="IsOvertaken">is overtaken</see>.</returns>
    public bool Learn(in Question question, in InodeAttributes attributes, FrameFlags granted, int maxMs = int.MaxValue)
    {
        lock (_lock)
        {
            var isOvertaken = IsOvertakenLocked(question, attributes.Ino);
            if ((granted & FrameFlags.AttributesLeased) == 0 || isOvertaken)
            {
                _inodes.Remove(attributes.Ino);
                return !isOvertaken;
            }

            if (_inodes.Count >= Max)
            {
                _inodes.Clear();
            }

            CollectionsMarshal.GetValueRefOrAddDefault(_inodes, attributes.Ino, out _) = new Entry(attributes, question.Offer.AskedMs + Math.Min(maxMs, leaseMs()));
            return true;
        }
    }

    /// <summary>This node is about to ask for a change of these inodes; <see cref="End"/> follows when it has the answer.</summary>
    public Change Begin(ulong ino, ulong other = Ino.None)
    {
        lock (_lock)
        {
            var version = ++_version;
            Enter(ino, version);
            if (other != Ino.None)
            {
                Enter(other, version);
            }

            return new Change(leases.Ask(), version, ino, other);
        }
    }

    /// <summary>The change is answered. What its answer says of the inodes may be learned with the result.</summary>
    public Question End(in Change change)
    {
        lock (_lock)
        {
            // Of two changes at the same time nobody knows here which was the later one.
            var isAlone = IsAlone(change.Ino, change.Version) && (change.Other == Ino.None || IsAlone(change.Other, change.Version));
            var version = ++_version;
            Leave(change.Ino, version);
            if (change.Other != Ino.None)
            {
                Leave(change.Other, version);
            }

            return new Question(change.Offer, isAlone ? version : 0);
        }
    }

    /// <summary>A name was made in a directory, of which nobody else can hear before the server does: the directory changed then, if it had not later.</summary>
    public void Touch(ulong ino, long timeNs)
    {
        lock (_lock)
        {
            ref var stripe = ref StripeOf(ino);
            stripe.ChangedAt = ++_version;
            if (stripe.Changing > 0 || !_inodes.TryGetValue(ino, out var entry))
            {
                _inodes.Remove(ino);
            }
            else if (entry.Attributes.CtimeNs <= timeNs)
            {
                _inodes[ino] = entry with { Attributes = entry.Attributes with { MtimeNs = timeNs, CtimeNs = timeNs } };
            }
        }
    }

    /// <summary>Another node changes them, or this node has, in passing.</summary>
    public void Forget(ReadOnlySpan<ulong> inodes)
    {
        lock (_lock)
        {
            var version = ++_version;
            foreach (var ino in inodes)
            {
                StripeOf(ino).ChangedAt = version;
                _inodes.Remove(ino);
            }
        }
    }

    /// <summary>Other nodes may have changed anything.</summary>
    public void ForgetEverything()
    {
        lock (_lock)
        {
            _inodes.Clear();
            var version = ++_version;
            foreach (ref var stripe in _stripes.AsSpan())
            {
                stripe.ChangedAt = version;
            }
        }
    }

    private bool IsOvertakenLocked(in Question question, ulong ino)
    {
        ref var stripe = ref StripeOf(ino);
        return stripe.Changing > 0 || stripe.ChangedAt > question.Version || leases.IsOvertaken(question.Offer, ino);
    }

    private ref Stripe StripeOf(ulong ino) => ref _stripes[ino % Stripes];

    private void Enter(ulong ino, long version)
    {
        ref var stripe = ref StripeOf(ino);
        stripe.Changing++;
        stripe.ChangedAt = version;
        _inodes.Remove(ino);
    }

    private bool IsAlone(ulong ino, long version) => StripeOf(ino) is var stripe && stripe.ChangedAt == version;

    private void Leave(ulong ino, long version)
    {
        ref var stripe = ref StripeOf(ino);
        stripe.Changing--;
        stripe.ChangedAt = version;
        _inodes.Remove(ino);
    }

    private readonly record struct Entry(InodeAttributes Attributes, long UntilMs);

    /// <summary>Inodes share stripes: at worst something is asked for that was known.</summary>
    private struct Stripe
    {
        public int Changing;
        public long ChangedAt;
    }

    /// <summary>When something was asked, in recalls and in changes.</summary>
    public readonly record struct Question(LeaseOffer Offer, long Version);

    /// <summary>A change of this node that is under way.</summary>
    public readonly record struct Change(LeaseOffer Offer, long Version, ulong Ino, ulong Other)
    {
        /// <summary>For what the answer says of names. <paramref name="isResent"/>: the kernel's request came to a predecessor first.</summary>
        public LeaseOffer ForNames(bool isResent) => isResent ? LeaseOffer.Old : Offer;
    }
}
